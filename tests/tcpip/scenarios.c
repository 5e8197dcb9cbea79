#include "scenarios.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct state {
	char name[160];
	bool bad;
};

static unsigned finish(const struct state *state)
{
	if (!state->name[0])
		return 0;
	if (!state->bad)
		printf("ok tcpip/%s\n", state->name);
	return state->bad;
}

static unsigned run_file(const struct scenarios *scenarios, const char *path)
{
	char line[2048];
	struct state state = {.name = ""};
	unsigned bad = 0;
	FILE *file = fopen(path, "r");

	if (!file) {
		printf("not ok tcpip/%s # %s: %s\n", scenarios->suite, path, strerror(errno));
		return 1;
	}
	for (unsigned number = 1; fgets(line, sizeof(line), file); number++) {
		const char *step, *why;

		line[strcspn(line, "#\n")] = 0;
		step = line + strspn(line, " \t");
		if (strncmp(line, "== ", 3) == 0) {
			bad += finish(&state);
			state.bad = false;
			snprintf(state.name, sizeof(state.name), "%.150s", line + 3);
			scenarios->begin(scenarios->context);
		} else if (*step && !state.bad && (why = scenarios->step(scenarios->context, step))) {
			state.bad = true;
			printf("not ok tcpip/%s # %s:%u: %s: %s\n", state.name, strrchr(path, '/') ? strrchr(path, '/') + 1 : path, number,
			       line, why);
		}
	}
	fclose(file);
	return bad + finish(&state);
}

unsigned scenarios_run(const struct scenarios *scenarios, int count, char **paths)
{
	unsigned bad = 0;

	for (int i = 0; i < count; i++)
		bad += run_file(scenarios, paths[i]);
	return bad;
}
