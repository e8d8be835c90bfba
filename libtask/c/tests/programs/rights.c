/* 1.1: rights, names and references. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

/* s1_1_right_numbers */
static void numbers_of_rights(void)
{
    static const mach_port_right_t none[] = {0, 2, 5, 6, ~0u};
    mach_port_t name = 0;
    OK(mach_port_allocate(self(), 1, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    drop_port(name);
    OK(mach_port_allocate(self(), 3, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_PORT_SET);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_allocate(self(), 4, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_deallocate(self(), name));
    for (unsigned n = 0; n < COUNT(none); n++)
        EXPECT_CODE(mach_port_allocate(self(), none[n], &name), KERN_INVALID_VALUE);
    name = new_port_with_send();
    mach_port_t once = new_send_once(name);
    OK(mach_port_mod_refs(self(), name, 0, 2));
    EXPECT(refs(name, 0), 3);
    OK(mach_port_mod_refs(self(), once, 2, -1));
    EXPECT(type_of(once), MACH_PORT_TYPE_NONE);
    for (unsigned n = 2; n < COUNT(none); n++)
        EXPECT_CODE(mach_port_mod_refs(self(), name, none[n], 0), KERN_INVALID_VALUE);
    OK(mach_port_destroy(self(), name));
}

/* s1_1_type_bits s1_8_type */
static void bits_of_types(void)
{
    mach_port_t name = new_port(), set = new_set(), dead = new_dead_name();
    EXPECT(type_of(name), 0x20000);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(type_of(name), 0x30000);
    mach_port_t once = new_send_once(name);
    EXPECT(type_of(once), 0x40000);
    EXPECT(type_of(set), 0x80000);
    EXPECT(type_of(dead), 0x100000);
    EXPECT(type_of(self()), 0x10000);
    EXPECT(request(name, MACH_NOTIFY_DEAD_NAME, 0, name), MACH_PORT_NULL);
    EXPECT(type_of(name), 0x80030000);
    drop_port(name);
    /* The request is used up by the port's end. */
    EXPECT(type_of(name), 0x100000);
    mach_port_type_t type;
    EXPECT_CODE(mach_port_type(self(), NOTHING, &type), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_type(self(), MACH_PORT_NULL, &type), KERN_INVALID_NAME);
    OK(mach_port_type(self(), MACH_PORT_DEAD, &type));
    EXPECT(type, MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), once));
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), dead));
}

/* s1_1_request_bits s1_4_send_notify_arms_and_reports */
static void bits_of_requests(void)
{
    mach_port_t told = new_port(), name = new_port_with_send();
    any_message m;
    set_limit(name, 1);
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 0, told);
    EXPECT(type_of(name) & 0xe0000000, 0xe0000000);
    /* Sent while there is room, it arms nothing. */
    start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    OK(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT | MACH_SEND_NOTIFY, 24, 0, 0, 0, 0));
    expect_nothing(told);
    start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, 24, 2);
    EXPECT_CODE(mach_msg(&m.header, MACH_SEND_MSG | MACH_SEND_TIMEOUT | MACH_SEND_NOTIFY, 24, 0, 0, 0, 0), MACH_SEND_TIMED_OUT);
    mach_msg_destroy(&m.header);
    EXPECT(type_of(name) & 0xe0000000, 0xc0000000);
    expect_nothing(told);
    EXPECT(next_id(name), 1);
    EXPECT(type_of(name) & 0xe0000000, 0);
    EXPECT(notice(told, MACH_NOTIFY_SEND_POSSIBLE), name);
    OK(mach_port_destroy(self(), name));
    drop_port(told);
}

/* s1_1_null_and_dead_names */
static void null_and_dead_are_numbers(void)
{
    mach_port_t name = new_port_with_send();
    EXPECT(MACH_PORT_NULL, 0);
    EXPECT(MACH_PORT_DEAD, 0xffffffff);
    OK(send_right(name, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND));
    OK(send_right(name, MACH_PORT_DEAD, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(receive_right(name), 0);
    EXPECT(receive_right(name), 0xffffffff);
    OK(mach_port_destroy(self(), name));
}

static void sends_back(mach_port_t maker)
{
    mach_port_t inbox = new_port(), given;
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    given = receive_right(inbox);
    EXPECT(type_of(given), MACH_PORT_TYPE_SEND);
    OK(send_right(maker, given, MACH_MSG_TYPE_COPY_SEND));
    OK(send_right(maker, given, MACH_MSG_TYPE_COPY_SEND));
    /* The receive right joins the send right that is here. */
    EXPECT(receive_right(inbox), given);
    EXPECT(type_of(given), MACH_PORT_TYPE_SEND_RECEIVE);
    OK(send_right(maker, given, MACH_MSG_TYPE_MOVE_RECEIVE));
}

/* s1_1_send_and_receive_share_a_name s1_1_one_receive_right_and_counted_references */
static void send_and_receive_right_share_a_name(void)
{
    mach_port_t name = new_port_with_send();
    child_t child = start_child(sends_back);
    mach_port_t inbox = receive_right(child.meeting);
    OK(send_right(inbox, name, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(receive_right(child.meeting), name);
    EXPECT(receive_right(child.meeting), name);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 3);
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
    mach_port_t first = new_send_once(name), second = new_send_once(name);
    TRUE_THAT(first != second && first != name && second != name);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(receive_right(child.meeting), name);
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
    end_child(&child);
    OK(mach_port_destroy(self(), first));
    OK(mach_port_destroy(self(), second));
    /* Held once; send rights and dead names are counted. */
    mach_port_t dead = new_dead_name(), set = new_set();
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 6));
    OK(mach_port_mod_refs(self(), dead, MACH_PORT_RIGHT_DEAD_NAME, 8));
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 9);
    EXPECT(refs(dead, MACH_PORT_RIGHT_DEAD_NAME), 9);
    EXPECT(refs(name, MACH_PORT_RIGHT_RECEIVE), 1);
    EXPECT(refs(set, MACH_PORT_RIGHT_PORT_SET), 1);
    EXPECT_CODE(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_RECEIVE, 1), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_mod_refs(self(), set, MACH_PORT_RIGHT_PORT_SET, 1), KERN_INVALID_VALUE);
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), dead));
    OK(mach_port_destroy(self(), name));
}

/* s1_1_references_peg_at_65535 s1_1_underflow_changes_nothing */
static void references_stick_at_the_top(void)
{
    mach_port_t names[2] = {new_port_with_send(), new_dead_name()};
    static const mach_port_right_t rights[2] = {MACH_PORT_RIGHT_SEND, MACH_PORT_RIGHT_DEAD_NAME};
    for (int n = 0; n < 2; n++) {
        static const int deltas[] = {1, -1, -65534, 100000};
        EXPECT_CODE(mach_port_mod_refs(self(), names[n], rights[n], -2), KERN_INVALID_VALUE);
        EXPECT_CODE(mach_port_mod_refs(self(), names[n], rights[n], (-2147483647 - 1)), KERN_INVALID_VALUE);
        EXPECT(refs(names[n], rights[n]), 1);
        OK(mach_port_mod_refs(self(), names[n], rights[n], 65533));
        EXPECT(refs(names[n], rights[n]), 65534);
        OK(mach_port_mod_refs(self(), names[n], rights[n], 2));
        for (unsigned d = 0; d < COUNT(deltas); d++) {
            OK(mach_port_mod_refs(self(), names[n], rights[n], deltas[d]));
            EXPECT(refs(names[n], rights[n]), 65535);
        }
        OK(mach_port_deallocate(self(), names[n]));
        EXPECT(refs(names[n], rights[n]), 65535);
    }
    /* Rights that leave and come change nothing. */
    mach_port_t inbox = new_port_with_send();
    OK(send_right(inbox, names[0], MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(receive_right(inbox), names[0]);
    EXPECT(refs(names[0], MACH_PORT_RIGHT_SEND), 65535);
    for (int n = 0; n < 2; n++)
        OK(mach_port_mod_refs(self(), names[n], rights[n], -65535));
    EXPECT(type_of(names[0]), MACH_PORT_TYPE_RECEIVE);
    EXPECT(type_of(names[1]), MACH_PORT_TYPE_NONE);
    drop_port(names[0]);
    OK(mach_port_destroy(self(), inbox));
}

/* s1_1_name_form s1_8_allocate_name */
static void names_have_a_form(void)
{
    static const mach_port_t chosen[] = {0x50000003, 0x500100ff, 0x7703};
    mach_port_t name = new_port();
    EXPECT(name & 3, 3);
    TRUE_THAT(name >> 8 > 0);
    drop_port(name);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 122), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 123), KERN_FAILURE);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 0), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, MACH_PORT_DEAD), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate_name(self(), 9, 0x50000003), KERN_INVALID_VALUE);
    for (unsigned n = 0; n < COUNT(chosen); n++) {
        OK(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, chosen[n]));
        EXPECT(type_of(chosen[n]), MACH_PORT_TYPE_RECEIVE);
    }
    /* The index is taken, whatever the generation. */
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 0x50000007), KERN_FAILURE);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_PORT_SET, 0x50000003), KERN_NAME_EXISTS);
    for (unsigned n = 0; n < COUNT(chosen); n++)
        drop_port(chosen[n]);
}

/* s1_1_freed_name_means_nothing */
static void freed_name_comes_back_as_another(void)
{
    mach_port_t first = new_port();
    int met = 0;
    drop_port(first);
    for (int n = 0; n < 300; n++) {
        mach_port_t name = new_port();
        TRUE_THAT(name != first);
        met |= name >> 8 == first >> 8;
        EXPECT(type_of(first), MACH_PORT_TYPE_NONE);
        EXPECT_CODE(send_empty(first, MACH_MSG_TYPE_MAKE_SEND, 1), MACH_SEND_INVALID_DEST);
        drop_port(name);
    }
    TRUE_THAT(met);
}

CHECK_MAIN(CASE(numbers_of_rights), CASE(bits_of_types), CASE(bits_of_requests), CASE(null_and_dead_are_numbers),
           CASE(send_and_receive_right_share_a_name), CASE(references_stick_at_the_top), CASE(names_have_a_form),
           CASE(freed_name_comes_back_as_another))
