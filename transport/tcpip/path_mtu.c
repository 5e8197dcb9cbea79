/* Path MTUs: believed for ten minutes, never below what the protocol guarantees. */
#include "transport/tcpip/path_mtu.h"

#include "transport/tcpip/core.h"
#include "transport/tcpip/udp.h"

#define LEAST_4 552u
#define LEAST_6 1280u
#define LASTS   600000000u /* RFC 1191 6.3, 8201 4 */

void cw_paths_init(struct cw_paths *paths, void *pool, uint32_t limit)
{
	cw_pool_init(&paths->pool, pool, sizeof(struct cw_path), limit);
	cw_list_init(&paths->age);
	for (unsigned i = 0; i < CW_PATH_BUCKETS; i++)
		cw_list_init(&paths->bucket[i]);
}

static struct cw_list *bucket_of(const struct cw_tcpip *core, const struct cw_ip_address *remote)
{
	return (struct cw_list *)(uintptr_t)&core->paths.bucket[cw_core_bucket(core, remote, CW_PATH_BUCKETS)];
}

static struct cw_path *find(const struct cw_tcpip *core, const struct cw_ip_address *remote)
{
	struct cw_list *bucket = bucket_of(core, remote);

	for (struct cw_list *entry = bucket->next; entry != bucket; entry = entry->next) {
		struct cw_path *path = cw_entry(entry, struct cw_path, bucket);

		if (memcmp(&path->remote, remote, sizeof(*remote)) == 0)
			return path;
	}
	return NULL;
}

uint32_t cw_tcpip_path_mtu(const struct cw_tcpip *core, const struct cw_ip_address *remote)
{
	const struct cw_path *path = core->paths.pool.used ? find(core, remote) : NULL;

	return path && path->until > core->now ? path->mtu : core->config.mtu;
}

static void drop(struct cw_paths *paths, struct cw_path *path)
{
	cw_list_remove(&path->bucket);
	cw_list_remove(&path->age);
	cw_pool_give(&paths->pool, path);
}

void cw_path_mtu_lower(struct cw_tcpip *core, const struct cw_ip_address *remote, uint32_t mtu)
{
	struct cw_paths *paths = &core->paths;
	struct cw_path *path;

	mtu = cw_max32(mtu, cw_ip_is_4(remote) ? LEAST_4 : LEAST_6);
	if (mtu >= cw_tcpip_path_mtu(core, remote) || !paths->pool.limit)
		return;
	cw_count(core, CW_TCPIP_PATH_MTU);
	path = find(core, remote);
	if (!path && paths->pool.used == paths->pool.limit)
		drop(paths, cw_entry(paths->age.next, struct cw_path, age));
	if (!path) {
		path = cw_pool_take(&paths->pool);
		path->remote = *remote;
		cw_list_init(&path->bucket);
		cw_list_init(&path->age);
		cw_list_add_last(bucket_of(core, remote), &path->bucket);
	}
	cw_list_remove(&path->age);
	cw_list_add_last(&paths->age, &path->age);
	path->mtu = mtu;
	path->until = core->now + LASTS;
}
