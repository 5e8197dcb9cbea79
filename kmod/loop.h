/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CW_LOOP_H
#define CW_LOOP_H

struct causeway_create;
struct file;

struct file *cw_loop_create(struct causeway_create *request);

#endif
