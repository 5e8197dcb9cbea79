# What is tested is the programs themselves; a member of the cluster that has gone mad is made of their parts.
$(BUILD)/tests/cluster/member: $(BUILD)/outside/tests/cluster/member.o $(BUILD)/parts.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson -lhwloc -lnuma -lsodium

cluster: $(BUILD)/tests/cluster/member

-include $(BUILD)/outside/tests/cluster/member.d

.PHONY: cluster
