// SPDX-License-Identifier: GPL-2.0
/*
 * Mapping a grant: page by page as it is touched, so that all can be taken
 * away at any moment. What is touched after that are pages of zeros that are
 * the grant's own, never a signal.
 *
 * The pages have no struct page as far as the rest of the kernel is concerned
 * (VM_PFNMAP), so nobody can pin one past its revocation.
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "compat.h"
#include "grant.h"
#include "window.h"

/* How many pages a fault brings at most; a power of two. */
#define FAULT_PAGES 16

static pgprot_t protection(struct vm_area_struct *vma,
			   enum causeway_memory memory)
{
	pgprot_t plain = vm_get_page_prot(vma->vm_flags);

	switch (memory) {
	case CAUSEWAY_WRITE_COMBINING:
		return pgprot_writecombine(plain);
	case CAUSEWAY_UNCACHED:
		return pgprot_noncached(plain);
	default:
		return plain;
	}
}

/* Faults that meet here all get the page of the first. */
static struct page *dead_page(struct cw_grant *grant, pgoff_t index)
{
	struct page *page = xa_load(&grant->dead, index), *other;

	if (page)
		return page;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return NULL;
	other = xa_cmpxchg(&grant->dead, index, NULL, page, GFP_KERNEL_ACCOUNT);
	if (!other)
		return page;
	__free_page(page);
	return xa_is_err(other) ? NULL : other;
}

static vm_fault_t fault_dead(struct cw_grant *grant, struct vm_fault *vmf)
{
	struct page *page = dead_page(grant, vmf->pgoff);

	if (!page)
		return VM_FAULT_OOM;
	cw_count(grant->window, CW_COUNT_DEAD_FAULTS);
	/* It is memory as any, however the window is cached. */
	return vmf_insert_pfn_prot(vmf->vma, vmf->address, page_to_pfn(page),
				   vm_get_page_prot(vmf->vma->vm_flags));
}

/* The page that was touched, and its neighbours: one connection's pages. */
static vm_fault_t fault_living(struct cw_grant *grant, struct vm_fault *vmf)
{
	struct cw_window *window = grant->window;
	struct vm_area_struct *vma = vmf->vma;
	pgprot_t prot = protection(vma, window->memory);
	pgoff_t begin = ALIGN_DOWN(vmf->pgoff, FAULT_PAGES), page;
	pgoff_t end = begin + FAULT_PAGES;
	vm_fault_t result, touched = VM_FAULT_SIGBUS;
	unsigned long address, pfn;

	cw_count(window, CW_COUNT_FAULTS);
	begin = max(begin, vma->vm_pgoff);
	end = min(end, vma->vm_pgoff + vma_pages(vma));
	for (page = begin; page < end; page++) {
		address = vma->vm_start + ((page - vma->vm_pgoff) << PAGE_SHIFT);
		pfn = window->ops->pfn(window, grant->first + page);
		result = vmf_insert_pfn_prot(vma, address, pfn, prot);
		if (page == vmf->pgoff)
			touched = result;
	}
	return touched;
}

static vm_fault_t map_fault(struct vm_fault *vmf)
{
	struct cw_grant *grant = vmf->vma->vm_private_data;
	vm_fault_t result;

	if (cw_grant_hold(grant))
		return fault_dead(grant, vmf);
	result = fault_living(grant, vmf);
	cw_grant_let(grant);
	return result;
}

static void map_open(struct vm_area_struct *vma)
{
	struct cw_grant *grant = vma->vm_private_data;

	atomic_inc(&grant->mappings);
}

static void map_close(struct vm_area_struct *vma)
{
	struct cw_grant *grant = vma->vm_private_data;

	atomic_dec(&grant->mappings);
}

static const struct vm_operations_struct map_ops = {
	.open = map_open,
	.close = map_close,
	.fault = map_fault,
};

int cw_grant_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct cw_grant *grant = file->private_data;
	unsigned long pages = vma_pages(vma);
	int err;

	/*
	 * Whether it may be written or executed, now or after mprotect(), is
	 * decided before: by the file's mode (cw_grant_create()) and by its
	 * file system. A private copy of such pages can't be had.
	 */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (pages > grant->pages || vma->vm_pgoff > grant->pages - pages)
		return -EINVAL;
	err = cw_grant_hold(grant);
	if (err)
		return err;
	cw_grant_let(grant);

	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = protection(vma, grant->window->memory);
	vma->vm_private_data = grant;
	vma->vm_ops = &map_ops;
	map_open(vma);
	return 0;
}
