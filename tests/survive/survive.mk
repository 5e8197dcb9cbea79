# The programs of the tests of what Causeway must survive.
SURVIVE = $(BUILD)/tests/survive
SURVIVE_PROGRAMS = $(patsubst tests/survive/%.c,$(SURVIVE)/%,$(filter-out %/survive.c %/other.c,$(wildcard tests/survive/*.c)))

$(SURVIVE)/%.o: tests/survive/%.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) -c -o $@ $<

$(SURVIVE)/%: $(SURVIVE)/%.o $(SURVIVE)/survive.o $(BUILD)/tests/oracle/content.o $(BUILD)/tests/oracle/show.o
	$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -pthread $(SURVIVE_LIBRARIES)

$(SURVIVE)/odd: SURVIVE_LIBRARIES = -lseccomp

$(SURVIVE)/other.so: tests/survive/other.c
	@mkdir -p $(@D)
	$(CC) $(filter-out $(SANITIZE),$(COMMON)) -shared -fPIC -o $@ $<

survive: $(SURVIVE_PROGRAMS) $(SURVIVE)/other.so

-include $(wildcard $(SURVIVE)/*.d)
.PHONY: survive
.SECONDARY: $(SURVIVE_PROGRAMS:=.o)
