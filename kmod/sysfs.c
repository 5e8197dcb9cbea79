// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/class/causeway/WINDOW: what the window is, and in counters/ what was
 * counted.
 */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "window.h"

static struct cw_window *to_window(struct device *dev)
{
	return container_of(dev, struct cw_window, dev);
}

static ssize_t kind_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", to_window(dev)->ops->kind);
}
static DEVICE_ATTR_RO(kind);

static ssize_t size_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%llu\n",
			  (u64)to_window(dev)->pages << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(size);

static ssize_t bells_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%u\n", to_window(dev)->bells);
}
static DEVICE_ATTR_RO(bells);

static ssize_t peer_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%u\n", to_window(dev)->peer);
}
static DEVICE_ATTR_RO(peer);

static ssize_t memory_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	static const char *const names[] = {
		[CAUSEWAY_WRITE_BACK] = "write-back",
		[CAUSEWAY_WRITE_COMBINING] = "write-combining",
		[CAUSEWAY_UNCACHED] = "uncached",
	};

	return sysfs_emit(buf, "%s\n", names[to_window(dev)->memory]);
}
static DEVICE_ATTR_RO(memory);

static ssize_t generation_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%016llx\n", to_window(dev)->generation);
}
static DEVICE_ATTR_RO(generation);

static ssize_t grants_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(to_window(dev)->living));
}
static DEVICE_ATTR_RO(grants);

static struct attribute *window_attrs[] = {
	&dev_attr_kind.attr,
	&dev_attr_size.attr,
	&dev_attr_bells.attr,
	&dev_attr_peer.attr,
	&dev_attr_memory.attr,
	&dev_attr_generation.attr,
	&dev_attr_grants.attr,
	NULL,
};

static const struct attribute_group window_group = { .attrs = window_attrs };

static ssize_t counter_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct dev_ext_attribute *counter =
		container_of(attr, struct dev_ext_attribute, attr);
	enum cw_counter which = (unsigned long)counter->var;

	return sysfs_emit(buf, "%lld\n",
			  atomic64_read(&to_window(dev)->counter[which]));
}

#define COUNTER(file, name)                                                    \
	static struct dev_ext_attribute counter_##file = {                     \
		__ATTR(file, 0444, counter_show, NULL),                        \
		(void *)CW_COUNT_##name                                        \
	}

COUNTER(interrupts, INTERRUPTS);
COUNTER(spurious, SPURIOUS);
COUNTER(rings, RINGS);
COUNTER(wakeups, WAKEUPS);
COUNTER(grants, GRANTS);
COUNTER(revocations, REVOCATIONS);
COUNTER(faults, FAULTS);
COUNTER(dead_faults, DEAD_FAULTS);

static struct attribute *counter_attrs[] = {
	&counter_interrupts.attr.attr,
	&counter_spurious.attr.attr,
	&counter_rings.attr.attr,
	&counter_wakeups.attr.attr,
	&counter_grants.attr.attr,
	&counter_revocations.attr.attr,
	&counter_faults.attr.attr,
	&counter_dead_faults.attr.attr,
	NULL,
};

static_assert(ARRAY_SIZE(counter_attrs) == CW_COUNTERS + 1);

static const struct attribute_group counter_group = {
	.name = "counters",
	.attrs = counter_attrs,
};

const struct attribute_group *cw_window_groups[] = {
	&window_group,
	&counter_group,
	NULL,
};
