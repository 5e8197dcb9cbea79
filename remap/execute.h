/* A static program that is executed goes by the loader too (load/), as if causeway run had been asked for it. */
#ifndef CW_REMAP_EXECUTE_H
#define CW_REMAP_EXECUTE_H

#include <spawn.h>

void cw_execute_start(void);
int cw_execute(const char *path, char *const arguments[], char *const environment[]);
int cw_execute_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
		     char *const arguments[], char *const environment[]);

#endif
