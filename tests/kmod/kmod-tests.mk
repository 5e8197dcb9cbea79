# Programs for the guests: static, there is no C library in there.
KMOD = $(BUILD)/tests/kmod
KMOD_PARTS = main windows grants revocations bells ends

$(KMOD)/%.o: tests/kmod/%.c
	@mkdir -p $(@D)
	@$(CC) $(COMMON) -c -o $@ $<

$(KMOD)/scenarios: $(KMOD_PARTS:%=$(KMOD)/%.o) $(KMOD)/common.o
$(KMOD)/fuzz: $(KMOD)/fuzz.o $(KMOD)/common.o
$(KMOD)/node: $(KMOD)/node.o $(KMOD)/common.o
$(KMOD)/scenarios $(KMOD)/fuzz $(KMOD)/node:
	@$(CC) $(CFLAGS) -static -pthread -o $@ $^

kmod-tests: $(KMOD)/scenarios $(KMOD)/fuzz $(KMOD)/node

-include $(wildcard $(KMOD)/*.d)
.PHONY: kmod-tests

