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

oracle: $(ORACLE)/scenarios $(ORACLE)/heir $(ORACLE)/heir-static

-include $(ORACLE_OBJECTS:.o=.d)
.PHONY: oracle
