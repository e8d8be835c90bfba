/* Lists that are too long for a packet, by message: out of line as other memory is, at the cost of who asks. */
#include "stubs.h"

#include <mach_debug/ipc_info.h>

enum { NAMES = 9000, MEMBERS = 17000 };

/* There is room for one piece of memory and not for two. */
static int is_cramped(void)
{
    return getenv("CRAMPED") != NULL;
}

static unsigned regions_held(void)
{
    unsigned count = 0;
    for (FILE *maps = fopen("/proc/self/maps", "r"); maps; fclose(maps), maps = NULL) {
        char line[1024];
        while (fgets(line, sizeof line, maps))
            count += strstr(line, "umach-region") != NULL;
    }
    return count;
}

/* s1_11_sets_and_listings */
static void long_lists_come_out_of_line(void)
{
    call_t c;
    mach_port_t set = new_set();
    unsigned before = regions_held();
    for (unsigned n = 0; n < NAMES; n++)
        new_dead_name();
    for (int turn = 0; turn < 3; turn++) {
        if (is_cramped()) {
            EXPECT_CODE(ask(&c, mach_task_self(), 3200, 0), KERN_RESOURCE_SHORTAGE);
        } else {
            mach_port_name_array_t names;
            mach_port_type_array_t types;
            mach_msg_type_number_t count, types_count;
            OK(ask(&c, mach_task_self(), 3200, 0));
            OK(mach_port_names(mach_task_self(), &names, &count, &types, &types_count));
            TRUE_THAT(count > NAMES);
            EXPECT(c.memory.words[0], count);
            EXPECT(c.memory.words[1], count);
            EXPECT(c.memory.memory[0].size, 4 * count);
            EXPECT(c.memory.memory[1].size, 4 * count);
            EXPECT(memcmp(c.memory.memory[0].address, names, 4 * count), 0);
            EXPECT(memcmp(c.memory.memory[1].address, types, 4 * count), 0);
            /* It is the program's own. */
            memset(c.memory.memory[0].address, 0, 4 * count);
            mach_msg_destroy(&c.header);
            OK(vm_deallocate(mach_task_self(), (vm_address_t)names, 4 * count));
            OK(vm_deallocate(mach_task_self(), (vm_address_t)types, 4 * count));
        }
        OK(ask(&c, mach_task_self(), 3223, 0));
        TRUE_THAT(c.memory.memory[0].size > NAMES * sizeof(ipc_info_name_t));
        const ipc_info_name_t *rows = c.memory.memory[0].address;
        unsigned long dead = 0, found = 0;
        for (unsigned n = 0; n < c.memory.memory[0].size / sizeof *rows; n++) {
            dead += rows[n].iin_type == MACH_PORT_TYPE_DEAD_NAME && rows[n].iin_urefs == 1;
            found += rows[n].iin_name == set && rows[n].iin_type == MACH_PORT_TYPE_PORT_SET;
        }
        EXPECT(dead, NAMES);
        EXPECT(found, 1);
        mach_msg_destroy(&c.header);
    }
    EXPECT(regions_held(), before);
    OK(mach_port_destroy(mach_task_self(), set));
}

/* s1_11_sets_and_listings */
static void sets_may_be_large(void)
{
    call_t c;
    mach_port_t set = new_set();
    for (unsigned n = 0; n < MEMBERS; n++)
        OK(mach_port_insert_member(mach_task_self(), new_port(), set));
    OK(ask(&c, mach_task_self(), 3211, 1, set));
    EXPECT(c.memory.memory[0].size, 4 * MEMBERS);
    mach_port_array_t members;
    mach_msg_type_number_t count;
    OK(mach_port_get_set_status(mach_task_self(), set, &members, &count));
    EXPECT(count, MEMBERS);
    EXPECT(memcmp(members, c.memory.memory[0].address, 4 * count), 0);
    OK(vm_deallocate(mach_task_self(), (vm_address_t)members, 4 * count));
    mach_msg_destroy(&c.header);
    OK(mach_port_destroy(mach_task_self(), set));
}

CHECK_MAIN(CASE(long_lists_come_out_of_line), CASE(sets_may_be_large))
