/* Files of scenarios: a line `== NAME` begins one, `#` what is not looked at; each other line that isn't empty is a step. A scenario ends
 * at the first step that fails. */
#ifndef CW_TESTS_TCPIP_SCENARIOS_H
#define CW_TESTS_TCPIP_SCENARIOS_H

struct scenarios {
	const char *suite;
	void (*begin)(void *context);
	const char *(*step)(void *context, const char *line); /* NULL, or why it fails */
	void *context;
};

/* Prints a result for each scenario of the files. Returns how many failed. */
unsigned scenarios_run(const struct scenarios *scenarios, int count, char **paths);

#endif
