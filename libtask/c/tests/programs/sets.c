/* 1.7: port sets. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

static unsigned members(mach_port_t set)
{
    mach_port_name_array_t names = NULL;
    mach_msg_type_number_t count = 0;
    OK(mach_port_get_set_status(self(), set, &names, &count));
    if (count)
        OK(vm_deallocate(self(), (vm_address_t)names, count * sizeof *names));
    return count;
}

/* s1_7_port_in_many_sets */
static void port_is_in_many_sets(void)
{
    static waiter_t waiter;
    mach_port_t name = new_port_with_send(), sets[3] = {new_set(), new_set(), new_set()};
    for (int n = 0; n < 3; n++) {
        OK(mach_port_insert_member(self(), name, sets[n]));
        EXPECT(members(sets[n]), 1);
    }
    fill(name, 3);
    for (int n = 0; n < 3; n++)
        EXPECT(next_id(sets[n]), n);
    for (int n = 0; n < 3; n++)
        expect_nothing(sets[n]);
    start_receiver(&waiter, sets[2]);
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 9));
    OK(end_waiter(&waiter));
    OK(mach_port_extract_member(self(), name, sets[1]));
    EXPECT(members(sets[0]), 1);
    EXPECT(members(sets[1]), 0);
    for (int n = 0; n < 3; n++)
        OK(mach_port_destroy(self(), sets[n]));
    OK(mach_port_destroy(self(), name));
}

/* s1_7_move_member s1_7_insert_and_extract_member s1_7_no_nesting */
static void members_come_and_go(void)
{
    mach_port_t name = new_port_with_send(), other = new_port(), first = new_set(), second = new_set(), third = new_set();
    EXPECT_CODE(mach_port_move_member(self(), name, MACH_PORT_NULL), KERN_NOT_IN_SET);
    OK(mach_port_insert_member(self(), name, first));
    OK(mach_port_insert_member(self(), name, second));
    EXPECT_CODE(mach_port_insert_member(self(), name, second), KERN_ALREADY_IN_SET);
    OK(mach_port_move_member(self(), name, third));
    EXPECT(members(first) + members(second), 0);
    EXPECT(members(third), 1);
    OK(mach_port_move_member(self(), name, MACH_PORT_NULL));
    EXPECT(members(third), 0);
    EXPECT_CODE(mach_port_extract_member(self(), other, first), KERN_NOT_IN_SET);
    EXPECT_CODE(mach_port_move_member(self(), NOTHING, first), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_move_member(self(), self(), first), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_move_member(self(), name, name), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_insert_member(self(), NOTHING, first), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_insert_member(self(), name, NOTHING), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_extract_member(self(), name, other), KERN_INVALID_RIGHT);
    /* No set is a member of a set, nor anything else but a receive right. */
    const mach_port_t none[] = {second, first, MACH_PORT_NULL, MACH_PORT_DEAD, self()};
    for (unsigned n = 0; n < COUNT(none); n++) {
        EXPECT_CODE(mach_port_insert_member(self(), none[n], first), KERN_INVALID_RIGHT);
        EXPECT_CODE(mach_port_move_member(self(), none[n], first), KERN_INVALID_RIGHT);
    }
    EXPECT(members(first), 0);
    /* A port that has messages makes the set ready. */
    fill(name, 1);
    OK(mach_port_insert_member(self(), name, first));
    EXPECT(next_id(first), 0);
    const mach_port_t drop[] = {name, other, first, second, third};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_7_messages_stay_with_the_port */
static void messages_stay_with_their_port(void)
{
    static waiter_t waiter;
    mach_port_t name = new_port_with_send(), first = new_set(), second = new_set();
    OK(mach_port_insert_member(self(), name, first));
    fill(name, 4);
    EXPECT(next_id(first), 0);
    OK(mach_port_extract_member(self(), name, first));
    expect_nothing(first);
    EXPECT(next_id(name), 1);
    OK(mach_port_insert_member(self(), name, second));
    EXPECT(next_id(second), 2);
    EXPECT(next_id(name), 3);
    /* An empty set is waited on; a port with messages that joins ends the wait. */
    start_receiver(&waiter, first);
    fill(name, 1);
    OK(mach_port_insert_member(self(), name, first));
    OK(end_waiter(&waiter));
    EXPECT(waiter.message.header.msgh_id, 0);
    const mach_port_t drop[] = {name, first, second};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_7_members_are_served_in_turn */
static void members_are_served_in_turn(void)
{
    mach_port_t set = new_set(), ports[3] = {new_port_with_send(), new_port_with_send(), new_port_with_send()};
    int served[3] = {0, 0, 0};
    any_message m;
    for (int n = 0; n < 3; n++) {
        OK(mach_port_insert_member(self(), ports[n], set));
        fill(ports[n], 4);
    }
    for (int round = 1; round <= 3; round++) {
        for (int n = 0; n < 3; n++) {
            OK(receive_it(&m, set));
            for (int p = 0; p < 3; p++)
                served[p] += ports[p] == m.header.msgh_local_port;
            OK(send_empty(m.header.msgh_local_port, MACH_MSG_TYPE_COPY_SEND, 99));
        }
        for (int p = 0; p < 3; p++)
            EXPECT(served[p], round);
    }
    for (int n = 0; n < 3; n++)
        OK(mach_port_destroy(self(), ports[n]));
    OK(mach_port_destroy(self(), set));
}

/* s1_7_destroying_a_set s1_7_deallocate_destroys_a_set s1_7_status_says_in_some_set */
static void members_outlive_their_set(void)
{
    static waiter_t waiter;
    for (int way = 0; way < 3; way++) {
        mach_port_t set = new_set(), other = new_set(), name = new_port_with_send();
        EXPECT(status_of(name).mps_pset, 0);
        OK(mach_port_insert_member(self(), name, set));
        EXPECT(status_of(name).mps_pset, 1);
        OK(mach_port_insert_member(self(), name, other));
        EXPECT(status_of(name).mps_pset, 1);
        start_receiver(&waiter, set);
        if (way == 0)
            OK(mach_port_mod_refs(self(), set, MACH_PORT_RIGHT_PORT_SET, -1));
        else if (way == 1)
            OK(mach_port_destroy(self(), set));
        else
            OK(mach_port_deallocate(self(), set));
        EXPECT_CODE(end_waiter(&waiter), MACH_RCV_PORT_CHANGED);
        EXPECT(type_of(set), MACH_PORT_TYPE_NONE);
        fill(name, 1);
        EXPECT(next_id(other), 0);
        EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
        OK(mach_port_destroy(self(), other));
        EXPECT(status_of(name).mps_pset, 0);
        OK(mach_port_destroy(self(), name));
    }
}

CHECK_MAIN(CASE(port_is_in_many_sets), CASE(members_come_and_go), CASE(messages_stay_with_their_port), CASE(members_are_served_in_turn),
           CASE(members_outlive_their_set))
