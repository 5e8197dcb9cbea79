/*
 * dlsym with a handle of libc's own, or of a library that was linked with it: ctypes.CDLL("libc.so.6"), JNA and their like. The search goes
 * by that handle past all that is preloaded; a call that is found so, and that the library stands before, must be the library's, or bytes
 * would go past the ring.
 */
#include "linker.h"

#ifdef CW_STANDS_BEFORE_LINKER
#include <dlfcn.h>
#include <gnu/libc-version.h>

static struct cw_linker of_libc;
static uintptr_t libc_begin, libc_end;
static _Atomic bool found_out;

static int note_libc(struct dl_phdr_info *object, size_t size, void *inside)
{
	uintptr_t begin = UINTPTR_MAX, end = 0;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = object->dlpi_phdr + i;
		uintptr_t at = object->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD)
			continue;
		begin = at < begin ? at : begin;
		end = at + part->p_memsz > end ? at + part->p_memsz : end;
	}
	if ((uintptr_t)inside < begin || (uintptr_t)inside >= end)
		return 0;
	libc_begin = begin;
	libc_end = end;
	return 1;
}

/*
 * By dlvsym, the one search that doesn't go by dlsym's name. Since 2.34, which we are linked with, these are in libc itself. Two threads
 * that find out at once find the same.
 */
const struct cw_linker *cw_libc_linker(void)
{
	if (cw_likely(atomic_load_explicit(&found_out, memory_order_acquire)))
		return &of_libc;
	dl_iterate_phdr(note_libc, (void *)gnu_get_libc_version);
	*(void **)&of_libc.dlsym = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	*(void **)&of_libc.dlopen = dlvsym(RTLD_NEXT, "dlopen", "GLIBC_2.34");
	*(void **)&of_libc.dlmopen = dlvsym(RTLD_NEXT, "dlmopen", "GLIBC_2.34");
	atomic_store_explicit(&found_out, true, memory_order_release);
	return &of_libc;
}

bool cw_is_of_libc(const void *address)
{
	return (uintptr_t)address >= libc_begin && (uintptr_t)address < libc_end;
}

static struct link_map *object_of(const void *address)
{
	struct link_map *map = NULL;
	Dl_info info;

	return dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) ? map : NULL;
}

static bool is_behind_us(const struct link_map *map)
{
	const struct link_map *m = object_of((const void *)cw_libc_linker);

	while (m && m != map)
		m = m->l_next;
	return m;
}

/* It has the same call, and is what ours would call next, or what that calls: with ours it would go in a circle. */
static bool stands_behind(const void *asker, const char *name)
{
	const struct link_map *map = object_of(asker);
	void *handle, *of_asker;

	if (!map || !is_behind_us(map))
		return false;
	handle = cw_libc_linker()->dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return false;
	of_asker = cw_libc_linker()->dlsym(handle, name);
	dlclose(handle);
	return of_asker && object_of(of_asker) == map;
}

/* Jumped to, so it returns to who asks. */
static void *look_up_by_handle(void *restrict handle, const char *restrict name)
{
	void *found = cw_libc_linker()->dlsym(handle, name);

	return !cw_is_of_libc(found) || stands_behind(__builtin_return_address(0), name) ? found : cw_ours(name);
}

cw_lookup *cw_way_of_dlsym(const void *handle, const char *name);

cw_lookup *cw_way_of_dlsym(const void *handle, const char *name)
{
	const struct cw_linker *linker = cw_libc_linker();

	return handle == RTLD_NEXT || handle == RTLD_DEFAULT || !cw_ours(name) ? linker->dlsym : look_up_by_handle;
}
#endif
