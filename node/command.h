/* The inside of the causeway command: one file a subcommand. Each takes its own arguments (argv[0] is its name) and returns the exit
 * status. */
#ifndef CW_NODE_COMMAND_H
#define CW_NODE_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "node/link.h"

int cw_command_run(int argc, char **argv);
int cw_command_ss(int argc, char **argv);
int cw_command_doctor(int argc, char **argv);
int cw_command_status(int argc, char **argv);
int cw_command_stop(int argc, char **argv);
int cw_command_cluster(int argc, char **argv);
int cw_command_nodes(int argc, char **argv);
int cw_command_windows(int argc, char **argv);
int cw_command_window(int argc, char **argv); /* windows COMMAND: argv[0] is the command */
void cw_window_help(void);
int cw_command_topology(int argc, char **argv);

/* Exit statuses of env(1), which people's scripts know. */
enum { CW_EXIT_FAILED = 125, CW_EXIT_NOT_EXECUTABLE = 126, CW_EXIT_NOT_FOUND = 127 };

__attribute__((format(printf, 1, 2))) void cw_complain(const char *format, ...);

/* command_find.c: what lies beside this program. False if it isn't there. */
bool cw_find_library(char *path, size_t size);
bool cw_find_daemon(char *path, size_t size);
bool cw_find_loader(char *path, size_t size);

/* command_service.c: a connection to the service that this user believes. wanted NULL: CAUSEWAY_SERVICE, or the system's, or the
 * user's own. name: set to its name. -1 if there is none, and why says what was tried. */
int cw_service_find(const char *wanted, char name[100], char why[200]);
/* The same, but one is started where none is. */
int cw_service_ensure(const char *wanted, char name[100], char why[200]);

/* command_keep.c: a process that writes into the report if the service ends without having written it. */
void cw_report_keep(int service, int report);

/* command_explain.c: run --explain. The exit status. */
int cw_explain(const char *name, bool raw_calls, bool json);

/* command_ask.c: options that all subcommands but run have. */
struct cw_asking {
	const char *service;
	bool json;
};
/* -1: wrong, and said so; 1: help was printed. */
int cw_read_asking(struct cw_asking *asking, int argc, char **argv, const char *about);
/* Asks a service for a text of JSON; NULL, and why. */
json_t *cw_ask(int fd, enum cw_message_type type, char why[200]);
json_t *cw_ask_service(const char *wanted, enum cw_message_type type, char why[200]); /* wanted: as cw_service_find has it */
void cw_print_json(const json_t *json);
/* Asks the service, and prints what it says, for people or as JSON. The exit status. */
int cw_show(const struct cw_asking *asking, enum cw_message_type type, void (*print)(const json_t *json));

/* command_checks.c, for doctor. */
enum cw_finding { CW_FINE, CW_NOTE, CW_MISSING };
struct cw_check {
	enum cw_finding finding;
	char text[300];   /* what was found */
	char advice[300]; /* what to do; empty if nothing */
};
extern const struct cw_named_check {
	const char *name;
	void (*look)(struct cw_check *check, const struct cw_asking *asking);
} cw_checks[];
extern const size_t cw_checks_count;

#endif
