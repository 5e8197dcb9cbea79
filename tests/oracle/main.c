/* scenarios: run one scenario, or list them. */
#include "oracle.h"
#include "peer.h"
#include "storm.h"
#include "walk.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct manner manner = {.helper = ".", .program = "/proc/self/exe", .family = AF_INET};

extern const struct scenario *const __start_scenarios[], *const __stop_scenarios[];

static const struct scenario *find(const char *name)
{
	for (const struct scenario *const *s = __start_scenarios; s < __stop_scenarios; s++) {
		char full[96];

		snprintf(full, sizeof(full), "%s/%s", (*s)->family, (*s)->name);
		if (!strcmp(full, name))
			return *s;
	}
	return NULL;
}

static int list(void)
{
	for (const struct scenario *const *s = __start_scenarios; s < __stop_scenarios; s++)
		printf("%s/%s%s%s%s\n", (*s)->family, (*s)->name, (*s)->needs & ALONE ? " alone" : "",
		       (*s)->needs & KERNEL ? " kernel" : "", (*s)->needs & ITS_OWN ? " own" : "");
	return 0;
}

static int usage(void)
{
	fputs("usage: scenarios --list\n"
	      "       scenarios [--peer-by exec|fork|thread] [--warm N] [--accepting] [--still] [--demoted] [--address 4|6|mapped|unix]\n"
	      "                 [--helper DIR] [--peer-program FILE] FAMILY/NAME\n"
	      "       scenarios [...] --walk SEED [--steps N] [--threads N] [--write FILE]\n"
	      "       scenarios [...] --script FILE\n"
	      "       scenarios [...] --storm SEED [--steps ROUNDS]\n",
	      stderr);
	return 64;
}

static void set_peer(const char *how)
{
	manner.peer = !strcmp(how, "thread") ? PEER_THREAD : !strcmp(how, "fork") ? PEER_FORK : PEER_EXEC;
}

static int run(const struct scenario *scenario)
{
	struct end e = {.fd = -1};

	signal(SIGPIPE, SIG_DFL);
	peer_start();
	if (!(scenario->needs & UNOPENED))
		open_end(&e, AF_INET, false);
	scenario->run(&e);
	say("done");
	return 0;
}

int main(int count, char **words)
{
	static const struct option options[] = {{"list", no_argument, NULL, 'l'},
						{"peer-by", required_argument, NULL, 'b'},
						{"warm", required_argument, NULL, 'w'},
						{"accepting", no_argument, NULL, 'a'},
						{"still", no_argument, NULL, 's'},
						{"helper", required_argument, NULL, 'h'},
						{"demoted", no_argument, NULL, 'd'},
						{"address", required_argument, NULL, 'f'},
						{"walk", required_argument, NULL, 'r'},
						{"steps", required_argument, NULL, 'n'},
						{"threads", required_argument, NULL, 't'},
						{"write", required_argument, NULL, 'o'},
						{"script", required_argument, NULL, 'i'},
						{"storm", required_argument, NULL, 'm'},
						{"peer", required_argument, NULL, 'p'},
						{"peer-program", required_argument, NULL, 'g'},
						{NULL, 0, NULL, 0}};
	int option;
	uint64_t storm_seed = 0;
	struct walk_order order = {.steps = 300, .threads = 1};

	while ((option = getopt_long(count, words, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			return list();
		case 'b':
			set_peer(optarg);
			break;
		case 'w':
			manner.warm = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			manner.accepting = true;
			break;
		case 's':
			manner.still = true;
			break;
		case 'd':
			manner.demoted = true;
			break;
		case 'f':
			manner.mapped = !strcmp(optarg, "mapped");
			manner.family = !strcmp(optarg, "unix") ? AF_UNIX : manner.mapped || !strcmp(optarg, "6") ? AF_INET6 : AF_INET;
			break;
		case 'g':
			manner.program = optarg;
			break;
		case 'h':
			manner.helper = optarg;
			break;
		case 'r':
			order.seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			order.steps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			order.threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'o':
			order.write = optarg;
			break;
		case 'i':
			order.script = optarg;
			order.seed = 1;
			break;
		case 'm':
			storm_seed = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			peer_serve(atoi(optarg));
			return 0;
		default:
			return usage();
		}
	}
	if (storm_seed)
		return storm_of(storm_seed, order.steps);
	if (order.seed) {
		walk_lie = getenv("ORACLE_LIE");
		peer_start();
		return walk(&order);
	}
	const struct scenario *scenario = optind + 1 == count ? find(words[optind]) : NULL;

	return scenario ? run(scenario) : usage();
}
