# What runs in the guests beside programs of others.
IN_GUESTS = $(BUILD)/tests/cluster-vm/talk $(BUILD)/tests/cluster-vm/nonsense

$(IN_GUESTS): $(BUILD)/tests/cluster-vm/%: tests/cluster-vm/%.c
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(COMMON) $(SANITIZE) -o $@ $<

cluster-vm: $(IN_GUESTS)

-include $(IN_GUESTS:=.d)

.PHONY: cluster-vm
