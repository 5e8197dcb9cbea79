/* scenarios: run one scenario, or list them. */
#include "oracle.h"
#include "peer.h"
#include "walk.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct manner manner = {.helper = "."};

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
		printf("%s/%s%s%s\n", (*s)->family, (*s)->name, (*s)->needs & ALONE ? " alone" : "", (*s)->needs & KERNEL ? " kernel" : "");
	return 0;
}

static int usage(void)
{
	fputs("usage: scenarios --list\n"
	      "       scenarios [--peer-by exec|fork|thread] [--warm N] [--accepting] [--still] [--helper DIR] FAMILY/NAME\n"
	      "       scenarios [...] --walk SEED [--steps N]\n",
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
	static const struct option options[] = {{"list", no_argument, NULL, 'l'},       {"peer-by", required_argument, NULL, 'b'},
						{"warm", required_argument, NULL, 'w'}, {"accepting", no_argument, NULL, 'a'},
						{"still", no_argument, NULL, 's'},      {"helper", required_argument, NULL, 'h'},
						{"walk", required_argument, NULL, 'r'}, {"steps", required_argument, NULL, 'n'},
						{"peer", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
	int option;
	unsigned steps = 300;
	uint64_t seed = 0;

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
		case 'h':
			manner.helper = optarg;
			break;
		case 'r':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			steps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'p':
			peer_serve(atoi(optarg));
			return 0;
		default:
			return usage();
		}
	}
	if (seed) {
		peer_start();
		return walk(seed, steps);
	}
	const struct scenario *scenario = optind + 1 == count ? find(words[optind]) : NULL;

	return scenario ? run(scenario) : usage();
}
