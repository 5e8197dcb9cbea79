#include "execute.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "call.h"
#include "load/load.h"
#include "sockets/service.h"

#define LOADER         "CAUSEWAY_LOADER" /* where it is; set by causeway run */
#define VARIABLE       "CAUSEWAY_LOAD="
#define MOST_PATH      4096
#define MOST_SEGMENTS  64
#define MOST_VARIABLES 1000

static char loader[MOST_PATH] CW_TABLE;

void cw_execute_start(void)
{
	const char *path = getenv(LOADER);

	if (path && strlen(path) < sizeof(loader) && cw_policy.number[CW_OPTION_raw_calls])
		strcpy(loader, path);
}

#if defined(__x86_64__) && defined(__LP64__)
static bool has_no_linker(int fd)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment[MOST_SEGMENTS];
	long bytes;
	bool dynamic = false;

	if (cw_raw(SYS_pread64, fd, (long)&header, sizeof(header), 0, 0, 0) != sizeof(header) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
	    header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > MOST_SEGMENTS)
		return false;
	bytes = (long)(header.e_phnum * sizeof(Elf64_Phdr));
	if (cw_raw(SYS_pread64, fd, (long)segment, bytes, (long)header.e_phoff, 0, 0) != bytes)
		return false;
	for (int i = 0; i < header.e_phnum; i++) {
		if (segment[i].p_type == PT_INTERP)
			return false;
		dynamic |= segment[i].p_type == PT_DYNAMIC;
	}
	/* A position-independent one may be a dynamic linker: left to causeway run, which looks closer. */
	return header.e_type == ET_EXEC ? !cw_load_is_elsewhere(&header, segment) : !dynamic;
}

static bool is_static(const char *path)
{
	struct stat status;
	bool found;
	long fd;

	if (!*loader || !cw_moving || !path || cw_is_plain() || cw_raw(SYS_faccessat, AT_FDCWD, (long)path, X_OK, 0, 0, 0) < 0)
		return false;
	fd = cw_raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0, 0, 0);
	if (fd < 0)
		return false;
	found = cw_raw(SYS_fstat, fd, (long)&status, 0, 0, 0, 0) == 0 && S_ISREG(status.st_mode) &&
		!(status.st_mode & (S_ISUID | S_ISGID)) && cw_raw(SYS_fgetxattr, fd, (long)"security.capability", 0, 0, 0, 0) < 0 &&
		has_no_linker((int)fd);
	cw_raw_close((int)fd);
	return found;
}
#else
static bool is_static(const char *path)
{
	return false;
}
#endif

/* On the stack, since a vfork child has no memory of its own; and a signal stack may be all there is (raw.c). 0: too long. */
static size_t count_variables(const char *path, char *const environment[])
{
	size_t count = 0;

	while (environment && environment[count])
		if (++count > MOST_VARIABLES)
			return 0;
	return strlen(path) < MOST_PATH ? count + 2 : 0;
}

static void add_variable(const char *path, char *variable, char *const environment[], char **to)
{
	while (environment && *environment)
		*to++ = *environment++;
	strcpy(variable, VARIABLE);
	strcat(variable, path);
	*to++ = variable;
	*to = NULL;
}

static cw_noinline void by_loader(const char *path, char *const arguments[], char *const environment[])
{
	size_t count = count_variables(path, environment);
	char variable[count ? sizeof(VARIABLE) + strlen(path) : 1], *copy[count + 1];

	if (!count)
		return;
	add_variable(path, variable, environment, copy);
	cw_real.execve(loader, arguments, copy);
}

int cw_execute(const char *path, char *const arguments[], char *const environment[])
{
	if (is_static(path))
		by_loader(path, arguments, environment);
	return cw_real.execve(path, arguments, environment);
}

static cw_noinline int spawn_by_loader(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
				       const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
	size_t count = count_variables(path, environment);
	char variable[count ? sizeof(VARIABLE) + strlen(path) : 1], *copy[count + 1];

	if (!count)
		return E2BIG;
	add_variable(path, variable, environment, copy);
	return cw_real.posix_spawn(pid, loader, actions, attributes, arguments, copy);
}

int cw_execute_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
		     char *const arguments[], char *const environment[])
{
	if (is_static(path) && spawn_by_loader(pid, path, actions, attributes, arguments, environment) == 0)
		return 0;
	return cw_real.posix_spawn(pid, path, actions, attributes, arguments, environment);
}
