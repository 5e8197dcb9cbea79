# The programs that are put into guests.
GUEST = $(BUILD)/tests/guest

$(GUEST)/ktls: tests/guest/ktls.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) $(SANITIZE) -o $@ $<

guest: $(GUEST)/ktls oracle

.PHONY: guest
