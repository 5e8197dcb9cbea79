/* Playing `causeway run --report`, and the library in a program of the run. */
#ifndef CW_TESTS_NODE_PLAY_RUN_H
#define CW_TESTS_NODE_PLAY_RUN_H

#include "play.h"
#include "sockets/stream.h"

struct run {
	char path[64];
	uint64_t number;
	pid_t command; /* the process that asked; ends when `end` is closed */
	int end;
};

/* What `causeway run --report` does, in a process of its own that then is the command. */
struct run run_start(const struct service *service);
void command_end(struct run *run);
json_t *await_report(struct run *run);
bool report_is_empty(const struct run *run);
json_int_t value(const json_t *json, const char *path); /* "bytes.ring_in" */

/* What the library does in a program of the run: it registers, and opens a stream. */
struct cw_stream *be_library(const struct service *service, const struct run *run);

#endif
