# The TCP/IP core and its tests; nothing else of the project is linked to it yet.
TCPIP_SOURCES := $(wildcard transport/tcpip/*.c)
TCPIP_OBJECTS := $(TCPIP_SOURCES:%.c=$(BUILD)/outside/%.o)
TCPIP_WORLD := $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,wire network world world_make world_link programs invariants)
TCPIP_TESTS := $(patsubst %,$(BUILD)/tests/tcpip/%,random conformance datagrams fuzz fuzz_datagrams kernel alike kernel_datagrams parts flood flood_datagrams)

TCPIP_BENCHMARKS := $(patsubst %,$(BUILD)/benchmarks/%,tcpip tcpip_stages tcpip_path)

tcpip: $(TCPIP_TESTS) $(TCPIP_BENCHMARKS)

# sync/clock.o: of what sync/cpu.h counts time by.
$(BUILD)/tcpip.a: $(TCPIP_OBJECTS) $(BUILD)/outside/sync/clock.o
	@rm -f $@
	@ar crsP $@ $^

$(BUILD)/tests/tcpip/random $(BUILD)/tests/tcpip/fuzz $(BUILD)/tests/tcpip/fuzz_datagrams: $(TCPIP_WORLD)
$(BUILD)/tests/tcpip/fuzz_datagrams: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,fuzz_packets fuzz_seeds)
$(BUILD)/tests/tcpip/fuzz: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,fuzz_main fuzz_seeds)
$(BUILD)/tests/tcpip/conformance: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,script_wire script_link scenarios)
$(BUILD)/tests/tcpip/datagrams: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,scenarios datagrams_words datagrams_wire datagrams_describe datagrams_socket)
$(BUILD)/tests/tcpip/kernel_datagrams: $(BUILD)/outside/tests/tcpip/tun.o
$(BUILD)/tests/tcpip/alike: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,alike_end tun)
$(BUILD)/tests/tcpip/kernel: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,kernel_wire tun)

$(TCPIP_TESTS): $(BUILD)/tests/tcpip/%: $(BUILD)/outside/tests/tcpip/%.o $(BUILD)/tcpip.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $(filter %.o,$^) $(filter %.a,$^)

$(BUILD)/benchmarks/tcpip $(BUILD)/benchmarks/tcpip_stages: $(patsubst %,$(BUILD)/outside/benchmarks/%.o,tcpip_pair common)
$(BUILD)/benchmarks/tcpip_path: $(BUILD)/outside/tests/tcpip/tun.o

$(TCPIP_BENCHMARKS): $(BUILD)/benchmarks/%: $(BUILD)/outside/benchmarks/%.o $(BUILD)/tcpip.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $(filter %.o,$^) $(filter %.a,$^) -ljansson

# With clang and -fsanitize=fuzzer-no-link; tests/tcpip/run says how.
$(BUILD)/tests/tcpip/fuzzer: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,fuzz fuzz_bytes) $(TCPIP_WORLD) $(BUILD)/tcpip.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -fsanitize=fuzzer -o $@ $^

-include $(TCPIP_OBJECTS:.o=.d) $(wildcard $(BUILD)/outside/tests/tcpip/*.d) $(wildcard $(BUILD)/outside/benchmarks/tcpip*.d)

.PHONY: tcpip

# The window over time, against formulas.
tcpip: $(BUILD)/tests/tcpip/curves

$(BUILD)/tests/tcpip/curves: $(patsubst %,$(BUILD)/outside/tests/tcpip/%.o,curves wire) $(BUILD)/tcpip.a
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -lm
