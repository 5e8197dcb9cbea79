/*
 * Where the rings' memory lies. A ring is placed on the memory node of its reader, because the reader looks and the writer's stores are
 * posted. Only the pages that are touched from now on are placed; on a machine with one memory node nothing is done at all.
 */
#include <hwloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "service.h"
#include "sync/cpu.h"

#define WHERE_NS 1000000000ull /* a program is taken to stay where it was seen for so long */

static hwloc_topology_t topology;
static bool several;

void cw_place_begin(void)
{
	/* Reading the topology takes tens of milliseconds: not where there is nothing to choose. */
	if (access("/sys/devices/system/node/node1", F_OK) < 0 && !getenv("HWLOC_SYNTHETIC") && !getenv("HWLOC_XMLFILE"))
		return;
	if (hwloc_topology_init(&topology) < 0)
		return;
	if (hwloc_topology_load(topology) < 0) {
		hwloc_topology_destroy(topology);
		return;
	}
	several = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE) > 1;
}

/* The memory nodes beside the processor on which the program last ran; NULL if that can't be told. */
static hwloc_const_nodeset_t nodes_of(struct cw_program *program)
{
	uint64_t now = cw_monotonic_ns();
	hwloc_cpuset_t set;

	if (program->seen_at && now - program->seen_at < WHERE_NS)
		return program->nodes;
	program->seen_at = now;
	set = hwloc_bitmap_alloc();
	if (!program->nodes)
		program->nodes = hwloc_bitmap_alloc();
	if (set && program->nodes && hwloc_get_proc_last_cpu_location(topology, program->pid, set, 0) == 0)
		hwloc_cpuset_to_nodeset(topology, set, program->nodes);
	else if (program->nodes)
		hwloc_bitmap_zero(program->nodes);
	hwloc_bitmap_free(set);
	return program->nodes;
}

void cw_place_slot(const struct cw_arena_record *record, uint32_t slot, struct cw_program *const ends[2])
{
	for (unsigned d = 0; several && !record->at && d < 2; d++) {
		hwloc_const_nodeset_t nodes = nodes_of(ends[1 - d]->node ? ends[d] : ends[1 - d]);

		if (nodes && !hwloc_bitmap_iszero(nodes))
			hwloc_set_area_membind(topology, cw_arena_ring(&record->arena, slot, d), CW_RING_MAX, nodes, HWLOC_MEMBIND_BIND,
					       HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_NOCPUBIND);
	}
}

void cw_place_near(struct cw_program *program)
{
	hwloc_const_nodeset_t nodes = several ? nodes_of(program) : NULL;

	if (nodes && !hwloc_bitmap_iszero(nodes))
		hwloc_set_membind(topology, nodes, HWLOC_MEMBIND_BIND,
				  HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET | HWLOC_MEMBIND_NOCPUBIND);
}

void cw_place_anywhere(void)
{
	if (several)
		hwloc_set_membind(topology, hwloc_topology_get_topology_nodeset(topology), HWLOC_MEMBIND_DEFAULT,
				  HWLOC_MEMBIND_THREAD | HWLOC_MEMBIND_BYNODESET);
}

void cw_place_forget(struct cw_program *program)
{
	hwloc_bitmap_free(program->nodes);
	program->nodes = NULL;
}
