/*
 * What the library shows to the linker, found by name as the linker finds it: in the table of its own file (DT_GNU_HASH: a filter of bits,
 * buckets, and chains of hashes whose lowest bit marks the last).
 */
#include "linker.h"

#ifdef CW_STANDS_BEFORE_LINKER
#include <dlfcn.h>
#include <string.h>

struct head {
	uint32_t buckets, first, words, shift;
};

struct own {
	uintptr_t base;
	const struct head *head;
	const uint64_t *bits;
	const uint32_t *buckets, *chains;
	const ElfW(Sym) * symbols;
	const char *strings;
};

static struct own own;
static _Atomic bool found_out;

/* Two threads that find out at once find the same. */
static bool find_out(void)
{
	struct link_map *map = NULL;
	Dl_info info;

	if (cw_likely(atomic_load_explicit(&found_out, memory_order_acquire)))
		return true;
	if (!dladdr1((const void *)cw_ours, &info, (void **)&map, RTLD_DL_LINKMAP))
		return false;
	own.head = cw_address_of(map, DT_GNU_HASH);
	own.symbols = cw_address_of(map, DT_SYMTAB);
	own.strings = cw_address_of(map, DT_STRTAB);
	if (!own.head || !own.symbols || !own.strings)
		return false;
	own.base = map->l_addr;
	own.bits = (const uint64_t *)(own.head + 1);
	own.buckets = (const uint32_t *)(own.bits + own.head->words);
	own.chains = own.buckets + own.head->buckets;
	atomic_store_explicit(&found_out, true, memory_order_release);
	return true;
}

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (uint8_t)*name++;
	return hash;
}

static bool may_be(uint32_t hash)
{
	uint64_t word = own.bits[hash / 64 % own.head->words];

	return word >> (hash % 64) & word >> ((hash >> own.head->shift) % 64) & 1;
}

void *cw_ours(const char *name)
{
	uint32_t hash = hash_of(name), i;

	if (!find_out() || !may_be(hash))
		return NULL;
	i = own.buckets[hash % own.head->buckets];
	for (; i >= own.head->first; i++) {
		uint32_t linked = own.chains[i - own.head->first];

		if ((linked | 1) == (hash | 1) && strcmp(own.strings + own.symbols[i].st_name, name) == 0)
			return (void *)(own.base + own.symbols[i].st_value);
		if (linked & 1)
			break;
	}
	return NULL;
}
#endif
