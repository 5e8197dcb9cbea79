"""The programs of others that are measured, each run unchanged: a server and a client in one mode, and the number that the client prints."""

import json
import os
import re
import shutil
import signal
import subprocess

from run import Failure, NotRun, free_port


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise NotRun(f"{program} is not installed")


def find(pattern, text, what):
    found = re.search(pattern, text)
    if not found:
        raise Failure(f"{what} printed no figure: {text.strip()[-400:]}")
    return float(found.group(1))


def cubic_allowed():
    with open("/proc/sys/net/ipv4/tcp_allowed_congestion_control", encoding="ascii") as names:
        allowed = names.read().split()
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as names:
        available = names.read().split()
    return "cubic" in (available if os.geteuid() == 0 else allowed)


def cubic_own():
    return ("--congestion", "cubic") if cubic_allowed() else ()


def cubic_iperf3():
    return ("-C", "cubic") if cubic_allowed() else ()


def pinned(processor):
    """Puts a command on the first or the second of the processors that there are."""
    need("taskset")
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise NotRun("one processor alone")
    return ["taskset", "-c", str(processors[processor])]


def sockperf(runner, mode, kind, seconds, pin=False, protocol=("--tcp",)):
    need("sockperf")
    port = str(free_port())
    server = [*(pinned(1) if pin else []), "sockperf", "server", *protocol, "-i", "127.0.0.1", "-p", port]
    # The tool keeps places for 1.2 million messages a second and gives up beyond that; what it waits between messages is not in the latency.
    client = [*(pinned(0) if pin else []), "sockperf", kind, *protocol, "-i", "127.0.0.1", "-p", port, "-m", "64", "-t", str(round(seconds)),
              *(["--mps", "500000"] if kind == "ping-pong" else [])]
    with runner.serving(mode, server, int(port), signal.SIGINT, **({} if protocol else {"udp": True})):
        output = runner.run(mode, client)
    return find(r"percentile 50\.000 =\s*([0-9.]+)", output, "sockperf")


def built_go(runner, static):
    """The Go program of the tests, built once a run."""
    need("go")
    program = f"{runner.scratch}/go-{'static' if static else 'dynamic'}"
    if not os.path.exists(program):
        sources = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/apps/raw")
        environment = {**os.environ, "GO111MODULE": "off", "GOCACHE": f"{runner.scratch}/gocache", "CGO_ENABLED": "0" if static else "1"}
        subprocess.run(["go", "build", "-o", program, "echo.go", "noweb.go"], cwd=sources, env=environment, check=True, timeout=300)
    return program


def go_pingpong(runner, mode, static):
    program = built_go(runner, static)
    port = free_port()
    with runner.serving(mode, [program, "serve", f"127.0.0.1:{port}"], port):
        return float(runner.run(mode, [program, "ping", f"127.0.0.1:{port}"]))


def iperf3(runner, mode, seconds):
    need("iperf3")
    port = str(free_port())
    with runner.serving(mode, ["iperf3", "-s", "-1", "-p", port], int(port)) as server:
        output = runner.run(mode, ["iperf3", "-c", "127.0.0.1", "-p", port, "-t", str(round(seconds)), "-J", *cubic_iperf3()])
        server.wait(10)
    return json.loads(output)["end"]["sum_received"]["bits_per_second"] / 1e9


def redis(runner, mode, requests, pipeline):
    need("redis-server", "redis-benchmark")
    port = str(free_port())
    server = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", runner.scratch]
    client = ["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-t", "get", "-c", "50", "-n", str(requests), "-P", str(pipeline), "--csv"]
    with runner.serving(mode, server, int(port)):
        output = runner.run(mode, client)
    return find(r'"GET","([0-9.]+)"', output, "redis-benchmark")


NGINX = """
{user}
daemon off;
master_process on;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
	access_log off;
	sendfile on;
	keepalive_requests 100000000;
	client_body_temp_path {scratch}/nginx-body;
	proxy_temp_path {scratch}/nginx-proxy;
	fastcgi_temp_path {scratch}/nginx-fastcgi;
	uwsgi_temp_path {scratch}/nginx-uwsgi;
	scgi_temp_path {scratch}/nginx-scgi;
	server {{
		listen 127.0.0.1:{port};
		root {scratch}/www;
	}}
}}
"""


def nginx(runner, mode, seconds):
    if os.path.isdir("/usr/sbin") and "/usr/sbin" not in os.environ["PATH"].split(":"):
        os.environ["PATH"] += ":/usr/sbin"  # where Debian keeps it; not in everybody's path
    need("nginx", "wrk")
    port = free_port()
    os.makedirs(f"{runner.scratch}/www", exist_ok=True)
    with open(f"{runner.scratch}/www/file", "w", encoding="ascii") as file:
        file.write("causeway" * 128)
    with open(f"{runner.scratch}/nginx.conf", "w", encoding="ascii") as file:
        file.write(NGINX.format(scratch=runner.scratch, port=port, user="user root;" if os.geteuid() == 0 else ""))
    with runner.serving(mode, ["nginx", "-p", runner.scratch, "-e", "stderr", "-c", f"{runner.scratch}/nginx.conf"], port):
        output = runner.run(mode, ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", f"http://127.0.0.1:{port}/file"])
    if "Non-2xx" in output:
        raise Failure(f"nginx did not answer with the file: {output}")
    return find(r"Requests/sec:\s*([0-9.]+)", output, "wrk")
