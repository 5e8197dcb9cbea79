/* The dynamic linker's calls, by which a program may come past ours. In glibc of 64 bits; elsewhere they are the linker's alone. */
#ifndef CW_REMAP_LINKER_H
#define CW_REMAP_LINKER_H

#include <link.h>
#include <stdbool.h>

#include "real.h"

#if defined(__GLIBC__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#define CW_STANDS_BEFORE_LINKER 1

typedef void *cw_lookup(void *restrict handle, const char *restrict name);
typedef void *cw_open(const char *name, int mode);
typedef void *cw_open_in(Lmid_t space, const char *name, int mode);

struct cw_linker {
	cw_lookup *dlsym;
	cw_open *dlopen;
	cw_open_in *dlmopen;
};

/* libc's own. Any thread, any time; not in a signal handler. */
const struct cw_linker *cw_libc_linker(void);

bool cw_is_of_libc(const void *address);

/* What an object says of itself, NULL: nothing of the kind. The linker has made addresses of addresses, but in a part that it can't write.
 */
static inline const ElfW(Dyn) * cw_entry_of(const struct link_map *map, ElfW(Sxword) tag)
{
	const ElfW(Dyn) *entry = map->l_ld;

	while (entry->d_tag != tag && entry->d_tag != DT_NULL)
		entry++;
	return entry->d_tag == tag ? entry : NULL;
}

static inline const void *cw_address_of(const struct link_map *map, ElfW(Sxword) tag)
{
	const ElfW(Dyn) *entry = cw_entry_of(map, tag);

	if (!entry)
		return NULL;
	return (const void *)(entry->d_un.d_ptr < map->l_addr ? entry->d_un.d_ptr + map->l_addr : entry->d_un.d_ptr);
}

/* The call of this name that the library stands before; NULL: there is none. */
void *cw_ours(const char *name);
#endif

#endif
