/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CW_CONTROL_H
#define CW_CONTROL_H

int cw_control_init(void);
void cw_control_exit(void);

#endif
