/* Paths whose MTU is smaller than the link's (RFC 1191, 8201), for what has no connection to keep it. */
#ifndef CW_TCPIP_PATH_MTU_H
#define CW_TCPIP_PATH_MTU_H

#include "transport/tcpip/list.h"
#include "transport/tcpip/pool.h"
#include "transport/tcpip/tcpip.h"

#define CW_PATH_BUCKETS 64u

struct cw_path {
	struct cw_list bucket, age;
	struct cw_ip_address remote;
	uint32_t mtu;
	uint64_t until;
};

struct cw_paths {
	struct cw_pool pool;
	struct cw_list age; /* told longest ago first */
	struct cw_list bucket[CW_PATH_BUCKETS];
};

void cw_paths_init(struct cw_paths *paths, void *pool, uint32_t limit);
/* Somebody on the way has said so. */
void cw_path_mtu_lower(struct cw_tcpip *core, const struct cw_ip_address *remote, uint32_t mtu);

#endif
