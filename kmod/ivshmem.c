// SPDX-License-Identifier: GPL-2.0
/*
 * The back end for QEMU's inter-VM shared memory device, with doorbells
 * (ivshmem-doorbell) or without (ivshmem-plain). QEMU's
 * docs/specs/ivshmem-spec.txt has the registers:
 *
 *	BAR 0	256 bytes: IVPosition (this peer's number), Doorbell (a store
 *		of peer << 16 | vector rings that peer)
 *	BAR 1	MSI-X; vector n is bell n
 *	BAR 2	the memory
 *
 * A doorbell to a peer that isn't there, or to a vector that it hasn't, is
 * dropped without a word, and nobody is told when a peer dies: who needs to
 * know looks for a heartbeat in the window.
 */
#include "ivshmem.h"

#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "bell.h"
#include "window.h"

#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110

#define BAR_REGISTERS 0
#define BAR_MEMORY 2

#define REGISTERS_SIZE 256
#define IVPOSITION 8
#define DOORBELL 12
#define DOORBELL_PEER_SHIFT 16
#define DOORBELL_MAX 0xffff

#define BELLS_MAX 256

/**
 * struct vector - what an interrupt is told
 * @window: whose bell it rings
 * @bell: which one
 */
struct vector {
	struct cw_window *window;
	u32 bell;
};

/**
 * struct ivshmem - a device; lives as long as its window's descriptors
 * @window: what it is for everybody else
 * @pdev: while it is there
 * @registers: mapped, while it is there
 * @memory: mapped here only so that the processor's tables say how it is
 *	    cached; mappings of programs then follow
 * @first: page frame
 * @vectors: that have an interrupt
 * @vector: BELLS_MAX at most
 */
struct ivshmem {
	struct cw_window window;
	struct pci_dev *pdev;
	void __iomem *registers;
	void *memory;
	unsigned long first;
	u32 vectors;
	struct vector vector[BELLS_MAX];
};

#define to_ivshmem(pointer) container_of(pointer, struct ivshmem, window)

static unsigned long ivshmem_pfn(struct cw_window *window, pgoff_t index)
{
	return to_ivshmem(window)->first + index;
}

/* Who else is there, and with how many bells, can't be asked. */
static bool ivshmem_may_ring(struct cw_window *window, u32 peer, u32 bell)
{
	if (peer == window->peer)
		return bell < window->bells;
	return window->bells && peer <= DOORBELL_MAX && bell <= DOORBELL_MAX;
}

static void ivshmem_ring(struct cw_window *window, u32 peer, u32 bell)
{
	struct ivshmem *ivshmem = to_ivshmem(window);

	if (peer == window->peer) {
		cw_bell_ring(window, bell);
		return;
	}
	/* The program's stores are seen before the interrupt is. */
	wmb();
	writel(peer << DOORBELL_PEER_SHIFT | bell,
	       ivshmem->registers + DOORBELL);
}

static void ivshmem_release(struct cw_window *window)
{
	kfree(to_ivshmem(window));
}

static const struct cw_window_ops ivshmem_ops = {
	.kind = "ivshmem",
	.pfn = ivshmem_pfn,
	.may_ring = ivshmem_may_ring,
	.ring = ivshmem_ring,
	.release = ivshmem_release,
};

static irqreturn_t ivshmem_interrupt(int irq, void *data)
{
	struct vector *vector = data;

	cw_bell_interrupt(vector->window, vector->bell);
	return IRQ_HANDLED;
}

static void free_interrupts(struct ivshmem *ivshmem)
{
	u32 i;

	for (i = 0; i < ivshmem->vectors; i++)
		pci_free_irq(ivshmem->pdev, i, &ivshmem->vector[i]);
	ivshmem->vectors = 0;
}

static int request_interrupts(struct ivshmem *ivshmem)
{
	struct vector *vector;
	u32 i;
	int err;

	for (i = 0; i < ivshmem->window.bells; i++) {
		vector = &ivshmem->vector[i];
		vector->window = &ivshmem->window;
		vector->bell = i;
		err = pci_request_irq(ivshmem->pdev, i, ivshmem_interrupt, NULL,
				      vector, "causeway-%s-%u",
				      pci_name(ivshmem->pdev), i);
		if (err) {
			free_interrupts(ivshmem);
			return err;
		}
		ivshmem->vectors++;
	}
	return 0;
}

/* A device without doorbells has no MSI-X, and is a window without bells. */
static int find_bells(struct ivshmem *ivshmem)
{
	struct pci_dev *pdev = ivshmem->pdev;
	u32 position = readl(ivshmem->registers + IVPOSITION);
	int bells;

	if (pci_msix_vec_count(pdev) <= 0)
		return 0;
	if (position > DOORBELL_MAX)
		return dev_err_probe(&pdev->dev, -ENODEV,
				     "has no number among its peers\n");
	bells = pci_alloc_irq_vectors(pdev, 1, BELLS_MAX, PCI_IRQ_MSIX);
	if (bells < 0)
		return dev_err_probe(&pdev->dev, bells, "no interrupts\n");
	ivshmem->window.bells = bells;
	ivshmem->window.peer = position;
	return 0;
}

static int map_bars(struct ivshmem *ivshmem)
{
	struct pci_dev *pdev = ivshmem->pdev;
	resource_size_t start = pci_resource_start(pdev, BAR_MEMORY);
	resource_size_t size = pci_resource_len(pdev, BAR_MEMORY);

	if (!size || !PAGE_ALIGNED(start) || !PAGE_ALIGNED(size))
		return dev_err_probe(&pdev->dev, -ENODEV, "has no memory\n");
	if (pci_resource_len(pdev, BAR_REGISTERS) < REGISTERS_SIZE)
		return dev_err_probe(&pdev->dev, -ENODEV, "no registers\n");
	ivshmem->registers = pcim_iomap(pdev, BAR_REGISTERS, 0);
	if (!ivshmem->registers)
		return -ENOMEM;
	ivshmem->memory = devm_memremap(&pdev->dev, start, size, MEMREMAP_WB);
	if (IS_ERR(ivshmem->memory))
		return PTR_ERR(ivshmem->memory);
	ivshmem->first = start >> PAGE_SHIFT;
	ivshmem->window.pages = size >> PAGE_SHIFT;
	ivshmem->window.memory = CAUSEWAY_WRITE_BACK;
	return 0;
}

static int open_device(struct ivshmem *ivshmem)
{
	struct pci_dev *pdev = ivshmem->pdev;
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	err = pci_request_regions(pdev, "causeway");
	if (err)
		return err;
	err = map_bars(ivshmem);
	if (err)
		return err;
	pci_set_master(pdev);
	return find_bells(ivshmem);
}

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ivshmem *ivshmem;
	int err;

	ivshmem = kzalloc(sizeof(*ivshmem), GFP_KERNEL);
	if (!ivshmem)
		return -ENOMEM;
	ivshmem->pdev = pdev;
	cw_window_init(&ivshmem->window, &ivshmem_ops, &pdev->dev);
	pci_set_drvdata(pdev, ivshmem);

	err = open_device(ivshmem);
	if (err)
		goto err_put;
	err = cw_window_add(&ivshmem->window);
	if (err)
		goto err_vectors;
	err = request_interrupts(ivshmem);
	if (err)
		goto err_window;
	dev_info(&pdev->dev, "%s: %lu pages, %u bells, peer %u\n",
		 dev_name(&ivshmem->window.dev), ivshmem->window.pages,
		 ivshmem->window.bells, ivshmem->window.peer);
	return 0;

err_window:
	pci_free_irq_vectors(pdev);
	cw_window_remove(&ivshmem->window);
	return err;
err_vectors:
	pci_free_irq_vectors(pdev);
err_put:
	put_device(&ivshmem->window.dev);
	return err;
}

/*
 * Interrupts end before the bells do, and the grants before the registers and
 * the memory, which are unmapped when this returns.
 */
static void ivshmem_remove(struct pci_dev *pdev)
{
	struct ivshmem *ivshmem = pci_get_drvdata(pdev);

	free_interrupts(ivshmem);
	pci_free_irq_vectors(pdev);
	cw_window_remove(&ivshmem->window);
}

static const struct pci_device_id ivshmem_ids[] = {
	{ PCI_DEVICE(IVSHMEM_VENDOR, IVSHMEM_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, ivshmem_ids);

static struct pci_driver ivshmem_driver = {
	.name = "causeway",
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
};

int __init cw_ivshmem_init(void)
{
	return pci_register_driver(&ivshmem_driver);
}

void cw_ivshmem_exit(void)
{
	pci_unregister_driver(&ivshmem_driver);
}
