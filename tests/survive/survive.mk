# The programs of the tests of what Causeway must survive.
SURVIVE = $(BUILD)/tests/survive
SURVIVE_PROGRAMS = $(patsubst tests/survive/%.c,$(SURVIVE)/%,$(filter-out tests/survive/survive.c,$(wildcard tests/survive/*.c)))

$(SURVIVE)/%.o: tests/survive/%.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) -c -o $@ $<

$(SURVIVE)/%: $(SURVIVE)/%.o $(SURVIVE)/survive.o $(BUILD)/tests/oracle/content.o $(BUILD)/tests/oracle/show.o
	$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -pthread $(SURVIVE_LIBRARIES)

$(SURVIVE)/odd: SURVIVE_LIBRARIES = -lseccomp

survive: $(SURVIVE_PROGRAMS)

-include $(wildcard $(SURVIVE)/*.d)
.PHONY: survive
.SECONDARY: $(SURVIVE_PROGRAMS:=.o)
