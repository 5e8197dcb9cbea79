/* What can be read from a program's text and notes: does it make system calls by instructions of its own? */
#ifndef CW_REMAP_TEXT_H
#define CW_REMAP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* The first system call instruction in [text, text + size), NULL if there is none that looks like one: a note that a program is to be
 * looked after, not a proof. */
const unsigned char *cw_text_find_call(const unsigned char *text, size_t size);

/* The first bytes there that would be one. */
const unsigned char *cw_text_next_call(const unsigned char *text, size_t size);

/* Notes of a segment or section: is one of them the Go linker's? */
bool cw_text_note_of_go(const unsigned char *notes, size_t size);

#endif
