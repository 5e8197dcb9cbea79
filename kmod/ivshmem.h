/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CW_IVSHMEM_H
#define CW_IVSHMEM_H

int cw_ivshmem_init(void);
void cw_ivshmem_exit(void);

#endif
