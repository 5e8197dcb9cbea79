/*
 * Code that is linked past all that is preloaded. RTLD_DEEPBIND (each extension of PHP, modules of Samba and BIND) lets a library, and what
 * it needs, find libc before us. As the linker has left their tables of functions (ELF gABI, relocation; System V ABI for the processor,
 * lazy binding), those that lead to libc by a name which we stand before are led to us. Behind dlmopen all is another world, with another
 * libc: with that, or where the tables can't be had, the process becomes plain.
 */
#include "linker.h"

#ifdef CW_STANDS_BEFORE_LINKER
#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plain.h"
#include "process.h"
#include "sockets/leave.h"

#define MOST_OBJECTS 1024

#ifdef __x86_64__
#define R_FUNCTION R_X86_64_JUMP_SLOT
#define R_ADDRESS  R_X86_64_GLOB_DAT
#define R_DATA     R_X86_64_64
#else
#define R_FUNCTION R_AARCH64_JUMP_SLOT
#define R_ADDRESS  R_AARCH64_GLOB_DAT
#define R_DATA     R_AARCH64_ABS64
#endif

struct object {
	const struct link_map *map;
	void *handle;
	uintptr_t begin, end, sealed_begin, sealed_end; /* sealed: read-only since the linker was ready (PT_GNU_RELRO) */
	const char *strings;
	const ElfW(Sym) * symbols;
	const ElfW(Rela) * table[2];
	size_t size[2];
};

struct closure {
	void *handle[MOST_OBJECTS];
	const struct link_map *map[MOST_OBJECTS];
	unsigned count;
	bool whole;
};

static int read_parts(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct object *object = argument;
	uintptr_t page = (uintptr_t)getpagesize();

	(void)size;
	if (info->dlpi_addr != object->map->l_addr)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = info->dlpi_phdr + i;
		uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;

		if (part->p_type == PT_GNU_RELRO) {
			object->sealed_begin = begin & -page;
			object->sealed_end = end & -page;
		} else if (part->p_type == PT_LOAD) {
			object->begin = object->begin && object->begin < begin ? object->begin : begin;
			object->end = end > object->end ? end : object->end;
		}
	}
	return 1;
}

static size_t size_of(const struct link_map *map, ElfW(Sxword) tag)
{
	const ElfW(Dyn) *entry = cw_entry_of(map, tag);

	return entry ? entry->d_un.d_val : 0;
}

static void read_dynamic(struct object *object)
{
	const struct link_map *map = object->map;

	object->strings = cw_address_of(map, DT_STRTAB);
	object->symbols = cw_address_of(map, DT_SYMTAB);
	object->table[0] = cw_address_of(map, DT_JMPREL);
	object->size[0] = size_of(map, DT_PLTRELSZ);
	object->table[1] = cw_address_of(map, DT_RELA);
	object->size[1] = size_of(map, DT_RELASZ);
}

static bool is_within(const struct object *object, const void *address)
{
	return (uintptr_t)address >= object->begin && (uintptr_t)address < object->end;
}

/* Where the first call through a slot leads to if the linker has not looked it up yet: to libc? */
static bool will_be_of_libc(const struct object *object, const char *name)
{
	return cw_is_of_libc(cw_libc_linker()->dlsym(object->handle, name));
}

static bool is_sealed(const struct object *object, uintptr_t at)
{
	return at >= object->sealed_begin && at < object->sealed_end;
}

static bool seal(uintptr_t at, int protection)
{
	uintptr_t page = (uintptr_t)getpagesize();

	return mprotect((void *)(at & -page), page, protection) == 0;
}

/* What one thread has made writable another must not seal before it is written. */
static pthread_mutex_t sealing = PTHREAD_MUTEX_INITIALIZER;

static bool lead_sealed_to(_Atomic(void *) *slot, void *ours)
{
	bool led;

	pthread_mutex_lock(&sealing);
	led = seal((uintptr_t)slot, PROT_READ | PROT_WRITE);
	if (led) {
		atomic_store_explicit(slot, ours, memory_order_relaxed);
		led = seal((uintptr_t)slot, PROT_READ);
	}
	pthread_mutex_unlock(&sealing);
	return led;
}

/* Other threads may call through it at any time: they find the one or the other. */
static bool lead_to(const struct object *object, _Atomic(void *) *slot, void *ours)
{
	if (is_sealed(object, (uintptr_t)slot))
		return lead_sealed_to(slot, ours);
	atomic_store_explicit(slot, ours, memory_order_relaxed);
	return true;
}

static bool bind_one(const struct object *object, const ElfW(Rela) * relocation)
{
	const ElfW(Sym) *symbol = object->symbols + ELF64_R_SYM(relocation->r_info);
	_Atomic(void *) *slot = (_Atomic(void *) *)(object->map->l_addr + relocation->r_offset);
	unsigned kind = ELF64_R_TYPE(relocation->r_info);
	const char *name = object->strings + symbol->st_name;
	void *ours, *now;

	if ((kind != R_FUNCTION && kind != R_ADDRESS && (kind != R_DATA || relocation->r_addend)) || !symbol->st_name ||
	    symbol->st_shndx != SHN_UNDEF)
		return true;
	ours = cw_ours(name);
	if (!ours)
		return true;
	now = atomic_load_explicit(slot, memory_order_relaxed);
	if (!cw_is_of_libc(now) && !(kind == R_FUNCTION && is_within(object, now) && will_be_of_libc(object, name)))
		return true;
	return lead_to(object, slot, ours);
}

static bool bind_object(const struct link_map *map, void *handle)
{
	struct object object = {.map = map, .handle = handle};
	bool bound = true;

	if (cw_is_of_libc(map->l_ld))
		return true;
	read_dynamic(&object);
	if (!dl_iterate_phdr(read_parts, &object) || !object.strings || !object.symbols)
		return false;
	for (unsigned t = 0; t < 2; t++)
		for (size_t i = 0; object.table[t] && i < object.size[t] / sizeof(ElfW(Rela)); i++)
			bound &= bind_one(&object, object.table[t] + i);
	return bound;
}

static void add(struct closure *closure, void *handle)
{
	struct link_map *map = NULL;

	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) < 0)
		return;
	for (unsigned i = 0; i < closure->count; i++) {
		if (closure->map[i] == map) {
			dlclose(handle);
			return;
		}
	}
	if (closure->count == MOST_OBJECTS) {
		closure->whole = false;
		dlclose(handle);
		return;
	}
	closure->handle[closure->count] = handle;
	closure->map[closure->count++] = map;
}

static void add_needed(struct closure *closure, const struct link_map *map)
{
	const char *strings = cw_address_of(map, DT_STRTAB);

	for (const ElfW(Dyn) *d = map->l_ld; strings && d->d_tag != DT_NULL; d++)
		if (d->d_tag == DT_NEEDED)
			add(closure, cw_libc_linker()->dlopen(strings + d->d_un.d_val, RTLD_LAZY | RTLD_NOLOAD));
}

/* With all that it needs; most of that is linked to us already, which changes nothing. */
static bool bind_all(const char *name)
{
	struct closure *closure = mmap(NULL, sizeof(*closure), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool bound = true;

	if (closure == MAP_FAILED)
		return false;
	closure->whole = true;
	add(closure, cw_libc_linker()->dlopen(name, RTLD_LAZY | RTLD_NOLOAD));
	for (unsigned i = 0; i < closure->count; i++) {
		bound &= bind_object(closure->map[i], closure->handle[i]);
		add_needed(closure, closure->map[i]);
	}
	for (unsigned i = 0; i < closure->count; i++)
		dlclose(closure->handle[i]);
	bound &= closure->whole && closure->count;
	munmap(closure, sizeof(*closure));
	return bound;
}

static void *open_deep(const char *name, int mode)
{
	void *handle = cw_libc_linker()->dlopen(name, mode);
	int error = errno;

	if (handle && !bind_all(name))
		cw_before_linked_past();
	if (handle)
		dlerror(); /* none that is of our searches */
	errno = error;
	return handle;
}

static bool concerns_us(int mode)
{
	return !(mode & RTLD_NOLOAD) && !cw_is_plain() && !cw_is_other_process();
}

cw_open *cw_way_of_dlopen(const char *name, int mode);
cw_open_in *cw_way_of_dlmopen(Lmid_t space, const char *name, int mode);

/* A name without a path, or with what stands for one ($ORIGIN), is looked for in a way that depends on who asks. */
cw_open *cw_way_of_dlopen(const char *name, int mode)
{
	if (!(mode & RTLD_DEEPBIND) || !name || !concerns_us(mode))
		return cw_libc_linker()->dlopen;
	if (strchr(name, '/') && !strchr(name, '$'))
		return open_deep;
	cw_before_linked_past();
	return cw_libc_linker()->dlopen;
}

cw_open_in *cw_way_of_dlmopen(Lmid_t space, const char *name, int mode)
{
	if (name && (space != LM_ID_BASE || mode & RTLD_DEEPBIND) && concerns_us(mode))
		cw_before_linked_past();
	return cw_libc_linker()->dlmopen;
}
#endif
