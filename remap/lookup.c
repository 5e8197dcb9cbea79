/*
 * dlsym with a handle of libc's own, or of a library that was linked with it: ctypes.CDLL("libc.so.6"), JNA and their like. The search goes
 * by that handle past all that is preloaded; a call that is found so, and that the library stands before, must be the library's, or bytes
 * would go past the ring. dlsym itself: lookup_stub.S.
 */
#include <dlfcn.h>
#include <link.h>

#include "real.h"

#if defined(__GLIBC__) && defined(__LP64__) && (defined(__x86_64__) || defined(__aarch64__))
#include <gnu/libc-version.h>

typedef void *lookup(void *restrict handle, const char *restrict name);

_Atomic(lookup *) cw_libc_dlsym;
lookup *cw_find_dlsym(void);
void *cw_look_up_by_handle(void *handle, const char *name);

/* Written before cw_libc_dlsym. */
static _Atomic uintptr_t libc_begin, libc_end;
static _Atomic(void *) own_handle;

static int note_libc(struct dl_phdr_info *object, size_t size, void *inside)
{
	uintptr_t begin = UINTPTR_MAX, end = 0;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = object->dlpi_phdr + i;

		if (part->p_type != PT_LOAD)
			continue;
		if (object->dlpi_addr + part->p_vaddr < begin)
			begin = object->dlpi_addr + part->p_vaddr;
		if (object->dlpi_addr + part->p_vaddr + part->p_memsz > end)
			end = object->dlpi_addr + part->p_vaddr + part->p_memsz;
	}
	if ((uintptr_t)inside < begin || (uintptr_t)inside >= end)
		return 0;
	atomic_store_explicit(&libc_begin, begin, memory_order_relaxed);
	atomic_store_explicit(&libc_end, end, memory_order_relaxed);
	return 1;
}

static bool is_of_libc(const void *found)
{
	return (uintptr_t)found >= atomic_load_explicit(&libc_begin, memory_order_relaxed) &&
	       (uintptr_t)found < atomic_load_explicit(&libc_end, memory_order_relaxed);
}

/* By dlvsym, the one search that doesn't go by dlsym's name. Since 2.34, which we are linked with, it is in libc itself. */
lookup *cw_find_dlsym(void)
{
	lookup *found;

	*(void **)&found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	dl_iterate_phdr(note_libc, (void *)gnu_get_libc_version);
	atomic_store_explicit(&cw_libc_dlsym, found, memory_order_release);
	return found;
}

static void *object_of(const void *address)
{
	struct link_map *map = NULL;
	Dl_info info;

	if (!dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) || !map)
		return NULL;
	return map;
}

static void *handle_of_ours(void)
{
	void *handle = atomic_load_explicit(&own_handle, memory_order_relaxed);
	const struct link_map *map;

	if (handle)
		return handle;
	map = object_of((void *)cw_look_up_by_handle);
	handle = map ? dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) : NULL;
	atomic_store_explicit(&own_handle, handle, memory_order_relaxed);
	return handle;
}

/* Another library that stands before the same call finds libc's in this way: with ours it would go in a circle. */
static bool stands_before(const void *asker, const char *name)
{
	const struct link_map *map = object_of(asker);
	void *handle, *of_asker;

	if (!map || !map->l_name[0]) /* the program itself */
		return false;
	handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return false;
	of_asker = atomic_load_explicit(&cw_libc_dlsym, memory_order_relaxed)(handle, name);
	dlclose(handle);
	return of_asker && object_of(of_asker) == map;
}

/* Jumped to from dlsym, so it returns to who asks. The second search finds libc's again where the library stands before no such call. */
void *cw_look_up_by_handle(void *handle, const char *name)
{
	lookup *libc_dlsym = atomic_load_explicit(&cw_libc_dlsym, memory_order_relaxed);
	void *found = libc_dlsym(handle, name), *ours, *own;

	if (!is_of_libc(found))
		return found;
	ours = handle_of_ours();
	own = ours ? libc_dlsym(ours, name) : found;
	return own == found || stands_before(__builtin_return_address(0), name) ? found : own;
}
#endif
