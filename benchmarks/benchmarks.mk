# The benchmark's own programs, and what runs them. `make bench-quick` takes under two minutes, `make bench` under fifteen.
BENCHMARKS := pingpong message_rate stream connect_close not_ours epoll_idle idle start limits bare_ring wake
BENCHMARK_PROGRAMS := $(BENCHMARKS:%=$(BUILD)/benchmarks/%)

benchmarks: $(BENCHMARK_PROGRAMS)

$(BUILD)/benchmarks/%: $(BUILD)/outside/benchmarks/%.o $(BUILD)/outside/benchmarks/common.o
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson

-include $(BENCHMARKS:%=$(BUILD)/outside/benchmarks/%.d) $(BUILD)/outside/benchmarks/common.d

bench: all benchmarks
	@benchmarks/driver/__main__.py --build $(BUILD)

bench-quick: all benchmarks
	@benchmarks/driver/__main__.py --build $(BUILD) --quick

bench-docs:
	@benchmarks/driver/__main__.py --build $(BUILD) --document docs/benchmarks.md

# Installs what is missing, builds, and shows sockperf and redis-benchmark without and with Causeway.
demo:
	@benchmarks/demo $(BUILD)

.PHONY: benchmarks bench bench-quick bench-docs demo
.SECONDARY: $(BENCHMARKS:%=$(BUILD)/outside/benchmarks/%.o) $(BUILD)/outside/benchmarks/common.o
