/* The environment of what is executed. */
#ifndef CW_REMAP_ENVIRONMENT_H
#define CW_REMAP_ENVIRONMENT_H

#include <stddef.h>

struct cw_environment {
	char **changed; /* NULL: the program's own will do */
	size_t size;
};

/* Where the library's file can't be seen (another root, other mounts), the dynamic linker would complain of LD_PRELOAD in the program's
 * own words: it is left out there. To be ended if the exec failed, or happened in another process. */
char *const *cw_environment_begin(struct cw_environment *room, char *const environment[]);
void cw_environment_end(struct cw_environment *room);
/* The same of this process's own, for calls that execute by themselves. */
void cw_environment_mend(void);

#endif
