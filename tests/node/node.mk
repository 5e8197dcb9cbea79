NODE_TEST_OBJECTS = $(patsubst %.c,$(BUILD)/outside/%.o,$(wildcard tests/node/*.c))

$(BUILD)/tests/node/test_node: $(NODE_TEST_OBJECTS) $(BUILD)/parts.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $$(pkg-config --libs check) -ljansson -lhwloc -lnuma -lsodium

node: $(BUILD)/tests/node/test_node

-include $(NODE_TEST_OBJECTS:.o=.d)

.PHONY: node
