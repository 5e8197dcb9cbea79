# The benchmark's own programs, and what runs them. `make bench-quick` takes under two minutes, `make bench` under fifteen.
BENCHMARKS := pingpong message_rate datagrams stream connect_close not_ours epoll_idle idle start limits bare_ring wake
BENCHMARK_PROGRAMS := $(BENCHMARKS:%=$(BUILD)/benchmarks/%)

benchmarks: $(BENCHMARK_PROGRAMS)

$(BUILD)/benchmarks/%: $(BUILD)/outside/benchmarks/%.o $(BUILD)/outside/benchmarks/common.o
	@mkdir -p $(@D)
	@echo '  LINK    $@'
	@$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -ljansson

-include $(BENCHMARKS:%=$(BUILD)/outside/benchmarks/%.d) $(BUILD)/outside/benchmarks/common.d

bench: all benchmarks $(TCPIP_BENCHMARKS)
	@benchmarks/driver/__main__.py --build $(BUILD)

bench-quick: all benchmarks $(TCPIP_BENCHMARKS)
	@benchmarks/driver/__main__.py --build $(BUILD) --quick

# Between two nodes against one; as root, in network namespaces.
bench-cluster: all
	@benchmarks/cluster --build $(BUILD)

# Programs of others, each held to 0.95 of its speed on kernel TCP; as root, in a namespace of its own.
bench-applications: all
	@BUILD=$(abspath $(BUILD)) benchmarks/applications

bench-docs:
	@benchmarks/driver/__main__.py --build $(BUILD) --document docs/benchmarks.md
	@benchmarks/driver/__main__.py --build $(BUILD) --document docs/tcpip.md

# Installs what is missing, builds, and shows sockperf and redis-benchmark without and with Causeway.
demo:
	@benchmarks/demo $(BUILD)

# Two guests that talk by memory, and the administrator's view of them.
demo-cluster: all
	@BUILD=$(abspath $(BUILD)) timeout --kill-after=10 500 benchmarks/demo-cluster

.PHONY: benchmarks bench bench-quick bench-cluster bench-applications bench-docs demo demo-cluster
.SECONDARY: $(BENCHMARKS:%=$(BUILD)/outside/benchmarks/%.o) $(BUILD)/outside/benchmarks/common.o
