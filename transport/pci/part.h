/*
 * How nodes divide a device's window: into as many parts of equal size as they have agreed on. A node makes memory in its own part alone,
 * and reaches the others' parts where it is told to.
 *
 *	part	a header unit: who beats here (struct cw_part_header), and which units other nodes were given
 *		units of CW_PART_UNIT bytes, handed out in runs
 *
 * A unit is free when no grant of it lives, which this machine's kernel knows, and no other node has it. For these the header has *claims*,
 * which outlive the service: its successor, and the node's next boot, know what may still be stored to from elsewhere. A claim ends
 * when that node's kernel says that no grant of it lives there. An arena is given to one node, so its units name that; what several nodes
 * may be given has a list of claims, one for each node.
 */
#ifndef CW_TRANSPORT_PCI_PART_H
#define CW_TRANSPORT_PCI_PART_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "sync/cpu.h"

#define CW_PART_UNIT   (256u << 10)
#define CW_PART_UNITS  4096u /* the most of a part; what lies behind isn't used */
#define CW_PART_MAGIC  0x7061727473ull
#define CW_PART_MOST   64u  /* parts */
#define CW_PART_SHARES 256u /* claims of what several nodes may be given */

struct cw_part_share {
	uint64_t at, length, node; /* length 0: none */
};

/*
 * For round trips by memory (service_echo.c), in the page that a node beats in: a number in one node's `asked` comes back in the other's
 * `answered`.
 */
#define CW_ECHOES 16u
struct cw_echo {
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t asked;
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t answered;
};

struct cw_part_header {
	uint64_t magic;
	uint32_t layout, parts;
	uint64_t node, generation;                             /* whose it is, and the instance of its service */
	_Alignas(CW_CACHE_LINE) _Atomic uint64_t beat;         /* service_pulse.c */
	_Alignas(CW_CACHE_LINE) uint64_t claim[CW_PART_UNITS]; /* the node that was given this unit; 0: none */
	struct cw_part_share share[CW_PART_SHARES];
	struct cw_echo echo[CW_ECHOES];
};

_Static_assert(sizeof(struct cw_part_header) <= CW_PART_UNIT, "the header has a unit of its own");

#define CW_PART_HEADER ((sizeof(struct cw_part_header) + 65535) & ~65535ull) /* bytes that are granted of it: whole pages of any size */

struct cw_part {
	uint64_t at, length;
};

/* Which bytes are a part's; length 0: there is no such part, or it is too small. */
struct cw_part cw_part_of(const struct cw_device *device, uint32_t parts, uint32_t which);

/* This node's own. */
struct cw_own_part {
	const struct cw_device *device;
	struct cw_part part;
	uint32_t units;
	struct cw_part_header *header;
	int fd;                    /* tells POLLERR when the device is gone, or all of it was revoked */
	bool asked[CW_PART_UNITS]; /* its claim ends unless it is said to be kept */
	bool asked_share[CW_PART_SHARES];
};

/* -1 with errno. Claims of an earlier instance are kept. */
int cw_own_part_open(struct cw_own_part *own, const struct cw_device *device, uint32_t parts, uint32_t which, uint32_t layout);
/* Say whose it is. */
void cw_own_part_sign(struct cw_own_part *own, uint32_t parts, uint32_t layout, uint64_t node, uint64_t generation);
void cw_own_part_close(struct cw_own_part *own);

/* The place of length bytes that nobody uses, for a grant to be made at once; 0: there is no room. */
uint64_t cw_own_part_find(const struct cw_own_part *own, uint64_t length);
void cw_own_part_claim(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node);
/* The same of memory that other nodes may have too; false: there is no room for the claim, so it must not be given. */
bool cw_own_part_share(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node);
/* Claims of nodes that `known` doesn't know end. */
void cw_own_part_forget(struct cw_own_part *own, bool (*known)(uint64_t node));
bool cw_own_part_claimed(const struct cw_own_part *own, uint64_t node);

/* What a node is asked whether it still has: ask marks it, each answer keeps some, and the rest is free. */
void cw_own_part_ask(struct cw_own_part *own, uint64_t node);
void cw_own_part_kept(struct cw_own_part *own, uint64_t at, uint64_t length, uint64_t node);
void cw_own_part_answered(struct cw_own_part *own, uint64_t node);

#endif
