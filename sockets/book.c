#include "book.h"

struct name {
	const char *name, *text;
};

static const struct name counters[] = {
#define X(name, text) {#name, text},
#include "sync/counters.def"
#undef X
};

static const struct name reasons[] = {
	{"none", ""},
#define X(name, text) {#name, text},
#include "reasons.def"
#undef X
};

const char *cw_reason_name(enum cw_reason reason)
{
	return (unsigned)reason < CW_REASONS ? reasons[reason].name : "unknown";
}

const char *cw_reason_text(enum cw_reason reason)
{
	return (unsigned)reason < CW_REASONS ? reasons[reason].text : "unknown";
}

const char *cw_counter_name(enum cw_counter counter)
{
	return (unsigned)counter < CW_COUNTERS ? counters[counter].name : "unknown";
}

const char *cw_counter_text(enum cw_counter counter)
{
	return (unsigned)counter < CW_COUNTERS ? counters[counter].text : "unknown";
}
