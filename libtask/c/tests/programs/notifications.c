/* 1.6: notifications. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

/* One notification as a whole, with the 20-byte trailer that XNU's structures have. */
static void expect_layout(any_message *m, mach_port_t told, int id, mach_msg_size_t size)
{
    memset(m, 0xee, sizeof *m);
    mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER);
    OK(mach_msg(&m->header, option, 0, size + 20, told, 5000, 0));
    unsigned complex = id == MACH_NOTIFY_PORT_DESTROYED ? MACH_MSGH_BITS_COMPLEX : 0;
    EXPECT(m->header.msgh_bits, MACH_MSGH_BITS(0, MACH_MSG_TYPE_PORT_SEND_ONCE) | complex);
    EXPECT(m->header.msgh_size, size);
    EXPECT(m->header.msgh_remote_port, MACH_PORT_NULL);
    EXPECT(m->header.msgh_local_port, told);
    EXPECT(m->header.msgh_id, id);
    if (size == 36)
        EXPECT(memcmp(m->room + 24, &NDR_record, sizeof NDR_record), 0);
}

/* s1_6_ids_and_layouts */
static void ids_and_layouts(void)
{
    mach_port_t told = new_port(), name = new_port_with_send();
    any_message m;
    request(name, MACH_NOTIFY_DEAD_NAME, 0, told);
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    drop_port(name);
    expect_layout(&m, told, 72, sizeof(mach_dead_name_notification_t) - 20);
    EXPECT(((mach_dead_name_notification_t *)(void *)&m)->not_port, name);
    expect_layout(&m, told, 71, sizeof(mach_send_once_notification_t) - 20);
    OK(mach_port_destroy(self(), name));
    name = new_port_with_send();
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    OK(mach_port_deallocate(self(), name));
    expect_layout(&m, told, 70, sizeof(mach_no_senders_notification_t) - 20);
    EXPECT(((mach_no_senders_notification_t *)(void *)&m)->not_count, 1);
    request(name, MACH_NOTIFY_PORT_DESTROYED, 0, told);
    drop_port(name);
    expect_layout(&m, told, 69, sizeof(mach_port_destroyed_notification_t) - 20);
    name = ((mach_port_destroyed_notification_t *)(void *)&m)->not_port.name;
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    request(name, MACH_NOTIFY_DEAD_NAME, 0, told);
    drop_port(name);
    expect_layout(&m, told, 65, sizeof(mach_port_deleted_notification_t) - 20);
    EXPECT(((mach_port_deleted_notification_t *)(void *)&m)->not_port, name);
    name = new_port_with_send();
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 1, told);
    expect_layout(&m, told, 66, sizeof(mach_send_possible_notification_t) - 20);
    EXPECT(((mach_send_possible_notification_t *)(void *)&m)->not_port, name);
    OK(mach_port_destroy(self(), name));
    drop_port(told);
}

/* s1_6_no_task_can_fake_one */
static void faked_one_shows(void)
{
    mach_port_t told = new_port_with_send();
    mach_dead_name_notification_t m;
    memset(&m, 0, sizeof m);
    m.not_header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0);
    m.not_header.msgh_remote_port = told;
    m.not_header.msgh_id = MACH_NOTIFY_DEAD_NAME;
    m.NDR = NDR_record;
    m.not_port = 0x103;
    OK(mach_msg(&m.not_header, MACH_SEND_MSG, 36, 0, 0, 0, 0));
    OK(mach_msg(&m.not_header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_SENDER), 0, sizeof m, told, 2000, 0));
    EXPECT(m.not_header.msgh_id, MACH_NOTIFY_DEAD_NAME);
    /* Only the trailer tells. */
    EXPECT(m.trailer.msgh_sender.val[0], geteuid());
    OK(mach_port_deallocate(self(), new_send_once(told)));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_destroy(self(), told));
}

static void watches(mach_port_t maker)
{
    mach_port_t inbox = new_port(), told = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t names[2] = {receive_right(inbox), 0};
    names[1] = receive_right(inbox);
    for (int n = 0; n < 2; n++) {
        EXPECT(request(names[n], MACH_NOTIFY_DEAD_NAME, 0, told), MACH_PORT_NULL);
        TRUE_THAT(type_of(names[n]) & MACH_PORT_TYPE_DNREQUEST);
    }
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    unsigned first = notice(told, MACH_NOTIFY_DEAD_NAME), second = notice(told, MACH_NOTIFY_DEAD_NAME);
    TRUE_THAT(first != second && (first == names[0] || first == names[1]) && (second == names[0] || second == names[1]));
    for (int n = 0; n < 2; n++) {
        EXPECT(refs(names[n], MACH_PORT_RIGHT_DEAD_NAME), 2);
        OK(mach_port_deallocate(self(), names[n]));
        OK(mach_port_deallocate(self(), names[n]));
        EXPECT(type_of(names[n]), MACH_PORT_TYPE_NONE);
    }
    expect_nothing(told);
}

/* s1_6_dead_name */
static void death_is_told_where_it_was_asked_for(void)
{
    mach_port_t victim = new_port();
    child_t child = start_child(watches);
    mach_port_t inbox = receive_right(child.meeting);
    OK(send_right(inbox, victim, MACH_MSG_TYPE_MAKE_SEND));
    OK(send_right(inbox, victim, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(next_id(child.meeting), 1);
    drop_port(victim);
    end_child(&child);
}

static mach_port_t watched(mach_port_t name, mach_port_t told)
{
    request(name, MACH_NOTIFY_DEAD_NAME, 0, told);
    return name;
}

/* A send right alone, without the receive right. */
static mach_port_t only_send(mach_port_t home)
{
    mach_port_t name = new_port_with_send();
    OK(send_right(home, name, MACH_MSG_TYPE_MOVE_RECEIVE));
    return name;
}

/* s1_6_port_deleted */
static void name_that_goes_is_told(void)
{
    mach_port_t told = new_port(), inbox = new_port_with_send(), home = new_port_with_send(), target = new_port(), name;
    set_limit(home, 100);
    name = watched(only_send(home), told);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 1));
    OK(mach_port_deallocate(self(), name));
    expect_nothing(told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(only_send(home), told);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, -1));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(only_send(home), told);
    OK(mach_port_destroy(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(only_send(home), told);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_SEND));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(only_send(home), told);
    OK(send_empty(name, MACH_MSG_TYPE_MOVE_SEND, 1));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(new_send_once(target), told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(new_send_once(target), told);
    OK(send_empty(name, MACH_MSG_TYPE_MOVE_SEND_ONCE, 1));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = watched(new_send_once(target), told);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_SEND_ONCE));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    name = only_send(home);
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 0, told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    /* As long as a receive right keeps the name, the request stays. */
    name = watched(new_port_with_send(), told);
    OK(mach_port_deallocate(self(), name));
    TRUE_THAT(type_of(name) & MACH_PORT_TYPE_DNREQUEST);
    expect_nothing(told);
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE));
    EXPECT(notice(told, MACH_NOTIFY_PORT_DELETED), name);
    expect_nothing(told);
    OK(mach_port_destroy(self(), inbox));
    OK(mach_port_destroy(self(), home));
    drop_port(target);
    drop_port(told);
}

static void holds(mach_port_t maker)
{
    mach_port_t inbox = new_port();
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    receive_right(inbox);
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    next_id(inbox);
}

/* s1_6_no_senders */
static void last_send_right_is_told(void)
{
    mach_port_t told = new_port(), name = new_port(), inbox = new_port_with_send();
    EXPECT(request(name, MACH_NOTIFY_NO_SENDERS, 0, told), MACH_PORT_NULL);
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 0);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 3));
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, -3));
    OK(send_right(inbox, name, MACH_MSG_TYPE_MOVE_SEND));
    expect_nothing(told);
    receive_right(inbox);
    expect_nothing(told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 1);
    /* Once; send-once rights do not count. */
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    OK(mach_port_deallocate(self(), name));
    expect_nothing(told);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t once = new_send_once(name);
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 3);
    OK(mach_port_deallocate(self(), once));
    /* A task's end counts as well. */
    child_t child = start_child(holds);
    mach_port_t theirs = receive_right(child.meeting);
    OK(send_right(theirs, name, MACH_MSG_TYPE_MAKE_SEND));
    EXPECT(next_id(child.meeting), 1);
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    expect_nothing(told);
    kill_child(&child);
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 4);
    OK(mach_port_destroy(self(), inbox));
    OK(mach_port_destroy(self(), name));
    drop_port(told);
}

/* s1_6_no_senders_waits_for_sync */
static void not_before_as_many_were_made(void)
{
    mach_port_t told = new_port(), name = new_port();
    request(name, MACH_NOTIFY_NO_SENDERS, 1, told);
    expect_nothing(told);
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    expect_nothing(told);
    OK(mach_port_deallocate(self(), name));
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 1);
    OK(mach_port_set_mscount(self(), name, 50));
    request(name, MACH_NOTIFY_NO_SENDERS, 50, told);
    EXPECT(notice(told, MACH_NOTIFY_NO_SENDERS), 50);
    drop_port(name);
    drop_port(told);
}

/* s1_6_port_destroyed */
static void receive_right_is_saved(void)
{
    mach_port_t told = new_port(), set = new_set(), name = new_port_with_send(), previous;
    EXPECT_CODE(mach_port_request_notification(self(), name, MACH_NOTIFY_PORT_DESTROYED, 1, told, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous),
                KERN_INVALID_VALUE);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    request(name, MACH_NOTIFY_PORT_DESTROYED, 0, told);
    EXPECT_CODE(mach_port_request_notification(self(), name, MACH_NOTIFY_PORT_DESTROYED, 0, told, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous),
                KERN_FAILURE);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    fill(name, 2);
    OK(mach_port_insert_member(self(), name, set));
    OK(mach_port_set_context(self(), name, 5));
    drop_port(name);
    EXPECT(notice(told, MACH_NOTIFY_PORT_DESTROYED), name);
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
    EXPECT(next_id(name), 0);
    EXPECT(next_id(name), 1);
    mach_port_status_t status = status_of(name);
    EXPECT(status.mps_pset, 0);
    EXPECT(status.mps_mscount, 0);
    EXPECT(status.mps_pdrequest, 0);
    drop_port(name);
    EXPECT(type_of(name), MACH_PORT_TYPE_DEAD_NAME);
    expect_nothing(told);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), set));
    drop_port(told);
}

/* s1_6_send_once */
static void unused_send_once_right_is_told(void)
{
    mach_port_t told = new_port(), inbox = new_port_with_send();
    any_message m;
    OK(mach_port_deallocate(self(), new_send_once(told)));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_destroy(self(), new_send_once(told)));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_mod_refs(self(), new_send_once(told), MACH_PORT_RIGHT_SEND_ONCE, -1));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    child_t child = start_child(holds);
    mach_port_t theirs = receive_right(child.meeting);
    OK(send_right(theirs, told, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    EXPECT(next_id(child.meeting), 1);
    kill_child(&child);
    notice(told, MACH_NOTIFY_SEND_ONCE);
    start_message(&m, inbox, MACH_MSG_TYPE_COPY_SEND, 24, 1);
    m.header.msgh_bits |= MACH_MSGH_BITS(0, MACH_MSG_TYPE_MAKE_SEND_ONCE);
    m.header.msgh_local_port = told;
    OK(send_it(&m));
    OK(mach_port_destroy(self(), inbox));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    /* Into a full queue, too; used, it tells nothing. */
    set_limit(told, 0);
    OK(mach_port_deallocate(self(), new_send_once(told)));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(send_empty(new_send_once(told), MACH_MSG_TYPE_MOVE_SEND_ONCE, 1));
    EXPECT(next_id(told), 1);
    expect_nothing(told);
    drop_port(told);
}

/* s1_6_send_possible */
static void room_is_told(void)
{
    mach_port_t told = new_port(), name = new_port_with_send(), once = new_send_once(name);
    set_limit(name, 2);
    const mach_port_t at_once[] = {name, once, self()};
    for (unsigned n = 0; n < COUNT(at_once); n++) {
        EXPECT(request(at_once[n], MACH_NOTIFY_SEND_POSSIBLE, 1, told), MACH_PORT_NULL);
        EXPECT(notice(told, MACH_NOTIFY_SEND_POSSIBLE), at_once[n]);
    }
    fill(name, 2);
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 1, told);
    expect_nothing(told);
    EXPECT(next_id(name), 0);
    EXPECT(notice(told, MACH_NOTIFY_SEND_POSSIBLE), name);
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 2));
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 1, told);
    set_limit(name, 3);
    EXPECT(notice(told, MACH_NOTIFY_SEND_POSSIBLE), name);
    /* A port that dies has a better notification. */
    OK(send_empty(name, MACH_MSG_TYPE_COPY_SEND, 3));
    request(name, MACH_NOTIFY_SEND_POSSIBLE, 1, told);
    drop_port(name);
    EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), name);
    expect_nothing(told);
    OK(mach_port_destroy(self(), name));
    OK(mach_port_destroy(self(), once));
    drop_port(told);
}

/* s1_6_request_is_an_atomic_swap */
static void request_is_a_swap(void)
{
    static const int ids[] = {MACH_NOTIFY_DEAD_NAME, MACH_NOTIFY_NO_SENDERS};
    mach_port_t first = new_port(), second = new_port(), name = new_port_with_send(), previous;
    for (unsigned n = 0; n < COUNT(ids); n++) {
        EXPECT(request(name, ids[n], 0, first), MACH_PORT_NULL);
        previous = request(name, ids[n], 0, second);
        EXPECT(type_of(previous), MACH_PORT_TYPE_SEND_ONCE);
        OK(send_empty(previous, MACH_MSG_TYPE_MOVE_SEND_ONCE, 9));
        EXPECT(next_id(first), 9);
        /* A null right withdraws. */
        OK(mach_port_request_notification(self(), name, ids[n], 0, MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
        OK(mach_port_deallocate(self(), previous));
        notice(second, MACH_NOTIFY_SEND_ONCE);
        OK(mach_port_request_notification(self(), name, ids[n], 0, MACH_PORT_NULL, MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
        EXPECT(previous, MACH_PORT_NULL);
    }
    OK(mach_port_destroy(self(), name));
    expect_nothing(first);
    expect_nothing(second);
    drop_port(first);
    drop_port(second);
}

static kern_return_t ask(mach_port_t name, int id, mach_port_t right, unsigned how)
{
    mach_port_t previous = MACH_PORT_NULL;
    return mach_port_request_notification(self(), name, id, 0, right, how, &previous);
}

/* s1_6_request_with_bad_arguments */
static void bad_requests_are_refused(void)
{
    static const int none[] = {0, 64, 65, 67, 68, 71, 73};
    mach_port_t told = new_port(), name = new_port_with_send(), died = new_port(), once = new_send_once(died), set = new_set();
    mach_port_t dead = new_dead_name();
    drop_port(died);
    EXPECT_CODE(ask(name, MACH_NOTIFY_DEAD_NAME, MACH_PORT_DEAD, MACH_MSG_TYPE_MOVE_SEND_ONCE), KERN_INVALID_CAPABILITY);
    EXPECT_CODE(ask(name, MACH_NOTIFY_DEAD_NAME, dead, MACH_MSG_TYPE_MOVE_SEND_ONCE), KERN_INVALID_CAPABILITY);
    EXPECT_CODE(ask(name, MACH_NOTIFY_DEAD_NAME, once, MACH_MSG_TYPE_MOVE_SEND_ONCE), KERN_INVALID_CAPABILITY);
    for (unsigned n = 0; n < COUNT(none); n++) {
        EXPECT_CODE(ask(name, none[n], told, MACH_MSG_TYPE_MAKE_SEND_ONCE), KERN_INVALID_VALUE);
        notice(told, MACH_NOTIFY_SEND_ONCE);
    }
    const struct {
        mach_port_t name;
        int id;
        kern_return_t code;
    } all[] = {{NOTHING, MACH_NOTIFY_DEAD_NAME, KERN_INVALID_NAME},
               {NOTHING, MACH_NOTIFY_NO_SENDERS, KERN_INVALID_NAME},
               {self(), MACH_NOTIFY_NO_SENDERS, KERN_INVALID_RIGHT},
               {self(), MACH_NOTIFY_PORT_DESTROYED, KERN_INVALID_RIGHT},
               {set, MACH_NOTIFY_DEAD_NAME, KERN_INVALID_RIGHT}};
    for (unsigned n = 0; n < COUNT(all); n++) {
        EXPECT_CODE(ask(all[n].name, all[n].id, told, MACH_MSG_TYPE_MAKE_SEND_ONCE), all[n].code);
        notice(told, MACH_NOTIFY_SEND_ONCE);
    }
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), name));
    drop_port(told);
}

/* s1_6_request_on_dead_name */
static void requests_on_dead_names(void)
{
    mach_port_t told = new_port(), names[2] = {new_dead_port(), new_dead_name()};
    for (int n = 0; n < 2; n++) {
        EXPECT_CODE(ask(names[n], MACH_NOTIFY_DEAD_NAME, told, MACH_MSG_TYPE_MAKE_SEND_ONCE), KERN_INVALID_ARGUMENT);
        notice(told, MACH_NOTIFY_SEND_ONCE);
        EXPECT(refs(names[n], MACH_PORT_RIGHT_DEAD_NAME), 1);
        request(names[n], MACH_NOTIFY_SEND_POSSIBLE, 1, told);
        EXPECT(notice(told, MACH_NOTIFY_DEAD_NAME), names[n]);
        EXPECT(refs(names[n], MACH_PORT_RIGHT_DEAD_NAME), 2);
        OK(mach_port_destroy(self(), names[n]));
    }
    drop_port(told);
}

CHECK_MAIN(CASE(ids_and_layouts), CASE(faked_one_shows), CASE(death_is_told_where_it_was_asked_for), CASE(name_that_goes_is_told),
           CASE(last_send_right_is_told), CASE(not_before_as_many_were_made), CASE(receive_right_is_saved), CASE(unused_send_once_right_is_told),
           CASE(room_is_told), CASE(request_is_a_swap), CASE(bad_requests_are_refused), CASE(requests_on_dead_names))
