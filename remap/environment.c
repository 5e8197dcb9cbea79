#include "environment.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "real.h"

#define NAME        "LD_PRELOAD="
#define NAME_LENGTH (sizeof(NAME) - 1)
#define OWN         "libcauseway.so"
#define OWN_LENGTH  (sizeof(OWN) - 1)

static const char *own_file(void)
{
	static _Atomic(const char *) file;
	const char *known = atomic_load_explicit(&file, memory_order_relaxed);
	Dl_info info;

	if (!known && dladdr((void *)cw_environment_begin, &info)) {
		known = info.dli_fname;
		atomic_store_explicit(&file, known, memory_order_relaxed);
	}
	return known;
}

static bool is_there(void)
{
	const char *file = own_file();

	return !file || !strchr(file, '/') || cw_raw(SYS_faccessat, AT_FDCWD, (long)file, 4, 0, 0, 0) != -ENOENT;
}

/* The list but for our entries; true if anything is left. */
static bool others(const char *list, char *to)
{
	bool any = false;

	while (*list) {
		size_t length = strcspn(list, " :");

		if (length && (length < OWN_LENGTH || strncmp(list + length - OWN_LENGTH, OWN, OWN_LENGTH) != 0)) {
			if (any)
				*to++ = ':';
			memcpy(to, list, length);
			to += length;
			any = true;
		}
		list += length + (list[length] != 0);
	}
	*to = 0;
	return any;
}

static const char *preloaded(char *const environment[])
{
	for (; environment && *environment; environment++)
		if (!strncmp(*environment, NAME, NAME_LENGTH) && strstr(*environment, OWN))
			return *environment;
	return NULL;
}

/* No malloc: the caller may be the child of a vfork. */
char *const *cw_environment_begin(struct cw_environment *room, char *const environment[])
{
	const char *own = preloaded(environment);
	char **to, *text;
	size_t count = 0;
	long memory;

	*room = (struct cw_environment){NULL, 0};
	if (!own || cw_is_plain() || is_there())
		return environment;
	while (environment[count])
		count++;
	room->size = (count + 1) * sizeof(char *) + strlen(own) + 1;
	memory = cw_raw_map(NULL, room->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (memory < 0 && memory > -4096)
		return environment;
	room->changed = to = (char **)memory;
	text = (char *)(to + count + 1);
	for (size_t i = 0; i < count; i++) {
		if (environment[i] != own) {
			*to++ = environment[i];
		} else if (others(own + NAME_LENGTH, text + NAME_LENGTH)) {
			memcpy(text, NAME, NAME_LENGTH);
			*to++ = text;
		}
	}
	return room->changed;
}

void cw_environment_end(struct cw_environment *room)
{
	if (room->changed)
		cw_raw(SYS_munmap, (long)room->changed, (long)room->size, 0, 0, 0, 0);
}

void cw_environment_mend(void)
{
	const char *own = preloaded(environ);
	char *rest;

	if (!own || cw_is_plain() || is_there())
		return;
	rest = malloc(strlen(own));
	if (rest && others(own + NAME_LENGTH, rest))
		setenv("LD_PRELOAD", rest, 1);
	else
		unsetenv("LD_PRELOAD");
	free(rest);
}
