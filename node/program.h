/* What a program is, read from its file: decides how it is brought to shared memory. */
#ifndef CW_NODE_PROGRAM_H
#define CW_NODE_PROGRAM_H

#include <stdbool.h>

/* X(name, what is done) */
#define CW_WAYS(X)                                                                                                                         \
	X(preload, "moved: the dynamic linker loads the library, which stands before libc's calls")                                        \
	X(raw, "moved: the dynamic linker loads the library, which also catches the program's own system call instructions")               \
	X(loader, "moved: the loader puts the program beside the library, which catches its system call instructions")                     \
	X(kernel, "not moved: all connections stay on kernel TCP")                                                                         \
	X(none, "not run")

enum cw_way {
#define X(name, text) CW_WAY_##name,
	CW_WAYS(X)
#undef X
};

struct cw_program {
	char path[4096];   /* what is executed */
	char script[4096]; /* the script that it is the interpreter of; empty if none */
	int error;         /* errno of what can't be executed */
	enum cw_way way;
	char why[400];
};

/* name: as for execvp. deep: the text is looked through too, for which nothing but an explanation asks: the library does it for itself. */
void cw_program_read(struct cw_program *program, const char *name, bool raw_calls, bool deep);
const char *cw_way_name(enum cw_way way);
const char *cw_way_text(enum cw_way way);

#endif
