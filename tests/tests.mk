# make check: all tests; SUITES="unit apps/redis" runs only those. make check-long: the same with larger sizes and times. make soak: again and
# again for SOAK_MINUTES. A directory of tests has an executable `run`, and builds what it needs by a target of its own name in NAME.mk.
SUITES ?=
UNITS = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
TESTS_BUILT = $(basename $(notdir $(wildcard tests/*/*.mk)))

# Units take what they need from all that isn't a main program or an interposed call.
PARTS = $(patsubst %.c,$(BUILD)/outside/%.o,$(sort remap/text.c $(filter-out remap/%,$(LIBRARY_SOURCES)) $(SHARED_SOURCES) \
	$(filter-out node/causeway.c node/causewayd.c,$(wildcard node/*.c))))

$(BUILD)/parts.a: $(PARTS)
	@rm -f $@
	@ar crsP $@ $^

$(BUILD)/tests/unit/%: $(BUILD)/outside/tests/unit/%.o $(BUILD)/parts.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ $$(pkg-config --libs check) -ljansson -lhwloc -lnuma -lsodium

units: $(UNITS)

tests: units $(TESTS_BUILT) $(if $(wildcard benchmarks/benchmarks.mk),benchmarks)

check check-long soak:
	tests/packages
	$(MAKE) --jobs="$$(nproc)" all
	-$(MAKE) --jobs="$$(nproc)" --keep-going --silent tests
	BUILD="$(BUILD)" tests/run $@ $(SUITES)

-include $(wildcard tests/*/*.mk)
-include $(UNITS:$(BUILD)/tests/%=$(BUILD)/outside/tests/%.d)

.PHONY: units tests check check-long soak
.SECONDARY: $(UNITS:$(BUILD)/tests/%=$(BUILD)/outside/tests/%.o)
