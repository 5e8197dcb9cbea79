#include "clock.h"

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#ifdef __aarch64__
#define NAME "__kernel_clock_gettime"
#else
#define NAME "__vdso_clock_gettime"
#endif

int (*cw_clock)(clockid_t, struct timespec *) = clock_gettime;

/* The vDSO: a shared library that the kernel maps into every process. */
struct image {
	uintptr_t shift; /* of its addresses */
	const ElfW(Sym) * symbol;
	const char *names;
	uint32_t count;
};

/* A bucket has the number of its first symbol; the chain's last one is odd. */
static uint32_t count_by_hash(const uint32_t *hash)
{
	uint32_t buckets = hash[0], first = hash[1], words = hash[2], last = 0;
	const uint32_t *bucket = hash + 4 + words * (sizeof(ElfW(Addr)) / sizeof(*hash)), *chain = bucket + buckets;

	for (uint32_t i = 0; i < buckets; i++)
		last = bucket[i] > last ? bucket[i] : last;
	if (last < first)
		return 0;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static void read_dynamic(struct image *image, const ElfW(Dyn) * entry)
{
	for (; entry->d_tag != DT_NULL; entry++) {
		const void *what = (const void *)(image->shift + entry->d_un.d_ptr);

		if (entry->d_tag == DT_SYMTAB)
			image->symbol = what;
		else if (entry->d_tag == DT_STRTAB)
			image->names = what;
		else if (entry->d_tag == DT_GNU_HASH)
			image->count = count_by_hash(what);
		else if (entry->d_tag == DT_HASH && !image->count)
			image->count = ((const uint32_t *)what)[1];
	}
}

static struct image image_at(const ElfW(Ehdr) * header)
{
	const ElfW(Phdr) *segment = (const void *)((const char *)header + header->e_phoff), *dynamic = NULL;
	struct image image = {0};

	for (int i = header->e_phnum; i-- > 0;) {
		if (segment[i].p_type == PT_LOAD)
			image.shift = (uintptr_t)header + segment[i].p_offset - segment[i].p_vaddr;
		else if (segment[i].p_type == PT_DYNAMIC)
			dynamic = &segment[i];
	}
	if (dynamic)
		read_dynamic(&image, (const void *)((const char *)header + dynamic->p_offset));
	return image;
}

void cw_clock_begin(void)
{
	const ElfW(Ehdr) *header = (const void *)getauxval(AT_SYSINFO_EHDR);
	struct image image;

	if (!header)
		return;
	image = image_at(header);
	for (uint32_t i = 0; image.symbol && image.names && i < image.count; i++)
		if (image.symbol[i].st_shndx != SHN_UNDEF && !strcmp(image.names + image.symbol[i].st_name, NAME))
			*(void **)&cw_clock = (void *)(image.shift + image.symbol[i].st_value);
}
