# The differential oracle: build/tests/oracle/scenarios and the programs that inherit its streams.
ORACLE = $(BUILD)/tests/oracle
ORACLE_COMMON = tests/oracle/show.c tests/oracle/content.c
ORACLE_SOURCES = $(filter-out tests/oracle/heir.c,$(wildcard tests/oracle/*.c))
ORACLE_OBJECTS = $(ORACLE_SOURCES:%.c=$(BUILD)/%.o)

# Optimised but not fortified, whatever CFLAGS says: the two kinds of calls have scenarios of their own.
$(ORACLE)/%.o: tests/oracle/%.c
	@mkdir -p $(@D)
	$(CC) $(COMMON) -Wno-nonnull -Wno-unused-result -fno-builtin -U_FORTIFY_SOURCE $(ORACLE_FORTIFY) -c -o $@ $<

$(ORACLE)/fortify.o: ORACLE_FORTIFY = -O2 -D_FORTIFY_SOURCE=2

$(ORACLE)/scenarios: $(ORACLE_OBJECTS)
	$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^ -pthread -luring

$(ORACLE)/heir: $(BUILD)/tests/oracle/heir.o $(ORACLE_COMMON:%.c=$(BUILD)/%.o)
	$(CC) $(CFLAGS) $(SANITIZE) -o $@ $^

$(ORACLE)/heir-static: $(BUILD)/tests/oracle/heir.o $(ORACLE_COMMON:%.c=$(BUILD)/%.o)
	$(CC) $(CFLAGS) -static -o $@ $^

# Its calls are instructions of its own (layer 3); what warns of getaddrinfo and the like is not used there.
$(ORACLE)/scenarios-static: $(ORACLE_OBJECTS)
	$(CC) $(CFLAGS) -static -o $@ $^ -pthread -luring 2>/dev/null

oracle: $(ORACLE)/scenarios $(ORACLE)/scenarios-static $(ORACLE)/heir $(ORACLE)/heir-static

-include $(ORACLE_OBJECTS:.o=.d)
.PHONY: oracle

# The same of other kinds: of 32 bits, with times and offsets of 64 in them, of musl. What has no library there is left out.
# $(call ORACLE_OF,NAME,compiler and its words,sources left out,what it waits for)
define ORACLE_OF
ORACLE_OBJECTS_OF_$(1) = $$(patsubst tests/oracle/%.c,$$(BUILD)/tests/oracle$(1)/%.o,$$(filter-out $(3),$$(ORACLE_SOURCES)))

$$(BUILD)/tests/oracle$(1)/%.o: tests/oracle/%.c $(4)
	@mkdir -p $$(@D)
	@$(2) $$(COMMON) -Wno-nonnull -Wno-unused-result -fno-builtin -U_FORTIFY_SOURCE $$(ORACLE_FORTIFY) -c -o $$@ $$<

$$(BUILD)/tests/oracle$(1)/fortify.o: ORACLE_FORTIFY = -O2 -D_FORTIFY_SOURCE=2

$$(BUILD)/tests/oracle$(1)/scenarios: $$(ORACLE_OBJECTS_OF_$(1))
	@$(2) $$(CFLAGS) -o $$@ $$^ -pthread

$$(BUILD)/tests/oracle$(1)/heir: $$(patsubst %,$$(BUILD)/tests/oracle$(1)/%.o,heir show content)
	@$(2) $$(CFLAGS) -o $$@ $$^

$$(BUILD)/tests/oracle$(1)/heir-static: $$(patsubst %,$$(BUILD)/tests/oracle$(1)/%.o,heir show content)
	@$(2) $$(CFLAGS) -static -o $$@ $$^

oracle$(1): $$(patsubst %,$$(BUILD)/tests/oracle$(1)/%,scenarios heir heir-static)

-include $$(ORACLE_OBJECTS_OF_$(1):.o=.d)
.PHONY: oracle$(1)
endef

MUSL_WORDS = -include tests/oracle/musl.h -idirafter $(BUILD)/muslinclude
$(eval $(call ORACLE_OF,32,$$(CC) -m32,tests/oracle/liburing.c,))
$(eval $(call ORACLE_OF,time64,$$(CC) -m32 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64,tests/oracle/liburing.c,))
$(eval $(call ORACLE_OF,musl,$$(MUSL_CC) $$(MUSL_WORDS),tests/oracle/liburing.c tests/oracle/fortify.c,| $(BUILD)/muslinclude/linux))
