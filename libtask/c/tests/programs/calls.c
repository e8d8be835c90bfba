/* 1.8: the mach_port_* calls, also on another task by its control right. */
#include "check.h"

static mach_port_t self(void)
{
    return mach_task_self();
}

static void stays(mach_port_t maker)
{
    mach_port_t inbox = new_port_with_send();
    /* The number of the name is what the maker calls it by. */
    any_message m;
    carry(&m, maker, inbox, MACH_MSG_TYPE_MAKE_SEND);
    m.header.msgh_id = (int)inbox;
    OK(send_it(&m));
    OK(mach_msg(&m.header, MACH_RCV_MSG, 0, sizeof m, inbox, 0, 0));
}

typedef struct {
    child_t task;
    mach_port_t inbox, name;
} other_t;

static other_t start_other(void)
{
    other_t other;
    any_message m;
    other.task = start_child(stays);
    OK(receive_it(&m, other.task.meeting));
    other.inbox = m.port.port.name;
    other.name = (mach_port_t)m.header.msgh_id;
    return other;
}

static void end_other(other_t *other)
{
    OK(send_empty(other->inbox, MACH_MSG_TYPE_COPY_SEND, 1));
    end_child(&other->task);
    OK(mach_port_deallocate(self(), other->inbox));
}

/* s1_8_allocate */
static void allocate_in_another_task(void)
{
    other_t other = start_other();
    mach_port_t name = 0, name_port = 0;
    mach_port_type_t type = 0;
    OK(mach_port_allocate(other.task.control, MACH_PORT_RIGHT_RECEIVE, &name));
    OK(mach_port_type(other.task.control, name, &type));
    EXPECT(type, MACH_PORT_TYPE_RECEIVE);
    EXPECT_CODE(mach_port_allocate(NOTHING, MACH_PORT_RIGHT_RECEIVE, &name), KERN_INVALID_TASK);
    OK(task_get_special_port(self(), TASK_NAME_PORT, &name_port));
    EXPECT_CODE(mach_port_allocate(name_port, MACH_PORT_RIGHT_RECEIVE, &name), KERN_INVALID_TASK);
    EXPECT_CODE(mach_port_allocate(self(), MACH_PORT_RIGHT_SEND, &name), KERN_INVALID_VALUE);
    OK(mach_port_deallocate(self(), name_port));
    end_other(&other);
}

/* s1_8_construct_and_destruct s1_8_construct_flags */
static void construct_and_destruct(void)
{
    static const struct {
        int delta;
        mach_port_context_t guard;
        kern_return_t code;
    } bad[] = {{0, 0, KERN_INVALID_ARGUMENT}, {0, 0xabd, KERN_INVALID_ARGUMENT}, {1, 0xabc, KERN_INVALID_VALUE}, {-4, 0xabc, KERN_INVALID_VALUE}};
    mach_port_options_t options;
    mach_port_t name, inbox = new_port_with_send();
    memset(&options, 0, sizeof options);
    options.flags = MPO_INSERT_SEND_RIGHT | MPO_QLIMIT | MPO_CONTEXT_AS_GUARD;
    options.mpl.mpl_qlimit = 17;
    OK(mach_port_construct(self(), &options, 0xabc, &name));
    EXPECT(status_of(name).mps_qlimit, 17);
    EXPECT(status_of(name).mps_mscount, 1);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 2));
    for (unsigned n = 0; n < COUNT(bad); n++) {
        EXPECT_CODE(mach_port_destruct(self(), name, bad[n].delta, bad[n].guard), bad[n].code);
        EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 3);
    }
    OK(mach_port_destruct(self(), name, -2, 0xabc));
    EXPECT(refs(name, MACH_PORT_RIGHT_DEAD_NAME), 1);
    OK(mach_port_deallocate(self(), name));
    name = new_port();
    EXPECT_CODE(mach_port_destruct(self(), name, -1, 0), KERN_INVALID_RIGHT);
    OK(mach_port_destruct(self(), name, 0, 0));
    EXPECT_CODE(mach_port_destruct(self(), NOTHING, 0, 0), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_destruct(self(), self(), 0, 0), KERN_INVALID_RIGHT);
    options.flags = MPO_QLIMIT;
    options.mpl.mpl_qlimit = 1025;
    EXPECT_CODE(mach_port_construct(self(), &options, 0, &name), KERN_INVALID_VALUE);
    /* The limit counts only with its flag. */
    options.flags = 0;
    options.mpl.mpl_qlimit = 99;
    OK(mach_port_construct(self(), &options, 7, &name));
    EXPECT(status_of(name).mps_qlimit, 5);
    drop_port(name);
    static const unsigned keeps[] = {MPO_STRICT | MPO_CONTEXT_AS_GUARD, MPO_IMMOVABLE_RECEIVE};
    for (unsigned n = 0; n < COUNT(keeps); n++) {
        options.flags = keeps[n];
        OK(mach_port_construct(self(), &options, 3, &name));
        EXPECT_CODE(send_right(inbox, name, MACH_MSG_TYPE_MOVE_RECEIVE), MACH_SEND_INVALID_RIGHT);
        OK(mach_port_destruct(self(), name, 0, 3));
    }
    static const unsigned darwin[] = {MPO_TEMPOWNER,         MPO_IMPORTANCE_RECEIVER, MPO_DENAP_RECEIVER, MPO_FILTER_MSG,
                                      MPO_TG_BLOCK_TRACKING, MPO_SERVICE_PORT,        MPO_CONNECTION_PORT, MPO_REPLY_PORT,
                                      MPO_ENFORCE_REPLY_PORT_SEMANTICS, MPO_PROVISIONAL_REPLY_PORT, MPO_EXCEPTION_PORT};
    for (unsigned n = 0; n < COUNT(darwin); n++) {
        options.flags = darwin[n];
        OK(mach_port_construct(self(), &options, 0, &name));
        drop_port(name);
    }
    options.flags = 0x10000;
    EXPECT_CODE(mach_port_construct(self(), &options, 0, &name), KERN_INVALID_ARGUMENT);
    OK(mach_port_destroy(self(), inbox));
}

/* s1_8_deallocate s1_8_destroy */
static void deallocate_and_destroy(void)
{
    mach_port_t told = new_port(), name = new_port_with_send(), dead = new_dead_name(), set = new_set();
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 1));
    OK(mach_port_deallocate(self(), name));
    OK(mach_port_deallocate(self(), name));
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    EXPECT_CODE(mach_port_deallocate(self(), name), KERN_INVALID_RIGHT);
    mach_port_t once = new_send_once(told);
    OK(mach_port_deallocate(self(), once));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_mod_refs(self(), dead, MACH_PORT_RIGHT_DEAD_NAME, 1));
    OK(mach_port_deallocate(self(), dead));
    EXPECT(refs(dead, MACH_PORT_RIGHT_DEAD_NAME), 1);
    OK(mach_port_deallocate(self(), dead));
    EXPECT_CODE(mach_port_deallocate(self(), once), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_deallocate(self(), dead), KERN_INVALID_NAME);
    dead = new_dead_name();
    once = new_send_once(told);
    const mach_port_t all[] = {name, once, dead, set};
    for (unsigned n = 0; n < COUNT(all); n++) {
        OK(mach_port_destroy(self(), all[n]));
        EXPECT(type_of(all[n]), MACH_PORT_TYPE_NONE);
        EXPECT_CODE(mach_port_destroy(self(), all[n]), KERN_INVALID_NAME);
    }
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_deallocate(self(), MACH_PORT_NULL));
    OK(mach_port_deallocate(self(), MACH_PORT_DEAD));
    OK(mach_port_destroy(self(), MACH_PORT_NULL));
    OK(mach_port_destroy(self(), MACH_PORT_DEAD));
    drop_port(told);
}

/* s1_8_mod_refs s1_8_get_refs */
static void references_by_kind(void)
{
    mach_port_t name = new_port_with_send(), told = new_port(), once = new_send_once(told), set = new_set(), dead = new_dead_name();
    const struct {
        mach_port_t name;
        mach_port_right_t right;
        int counted;
    } all[] = {{name, MACH_PORT_RIGHT_SEND, 1},
               {name, MACH_PORT_RIGHT_RECEIVE, 0},
               {once, MACH_PORT_RIGHT_SEND_ONCE, 0},
               {set, MACH_PORT_RIGHT_PORT_SET, 0},
               {dead, MACH_PORT_RIGHT_DEAD_NAME, 1}};
    mach_port_urefs_t count;
    for (unsigned n = 0; n < COUNT(all); n++) {
        OK(mach_port_mod_refs(self(), all[n].name, all[n].right, 0));
        EXPECT_CODE(mach_port_mod_refs(self(), all[n].name, all[n].right, 1), all[n].counted ? KERN_SUCCESS : KERN_INVALID_VALUE);
        EXPECT(refs(all[n].name, all[n].right), 1 + all[n].counted);
        for (mach_port_right_t right = 0; right < 5; right++)
            if (all[n].name != name && right != all[n].right) {
                EXPECT_CODE(mach_port_mod_refs(self(), all[n].name, right, -1), KERN_INVALID_RIGHT);
                EXPECT(refs(all[n].name, right), 0);
            }
    }
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, -2));
    EXPECT_CODE(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_SEND, 1), KERN_INVALID_RIGHT);
    drop_port(name);
    OK(mach_port_mod_refs(self(), once, MACH_PORT_RIGHT_SEND_ONCE, -1));
    notice(told, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_mod_refs(self(), set, MACH_PORT_RIGHT_PORT_SET, -1));
    OK(mach_port_mod_refs(self(), dead, MACH_PORT_RIGHT_DEAD_NAME, -2));
    EXPECT_CODE(mach_port_mod_refs(self(), NOTHING, MACH_PORT_RIGHT_SEND, 1), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_get_refs(self(), NOTHING, MACH_PORT_RIGHT_SEND, &count), KERN_INVALID_NAME);
    static const mach_port_t nothing[2] = {MACH_PORT_NULL, MACH_PORT_DEAD};
    for (int n = 0; n < 2; n++) {
        OK(mach_port_mod_refs(self(), nothing[n], MACH_PORT_RIGHT_SEND, -1));
        OK(mach_port_mod_refs(self(), nothing[n], MACH_PORT_RIGHT_SEND_ONCE, 5));
        EXPECT_CODE(mach_port_mod_refs(self(), nothing[n], MACH_PORT_RIGHT_RECEIVE, -1), KERN_INVALID_NAME);
        EXPECT(refs(nothing[n], MACH_PORT_RIGHT_SEND), 1);
        EXPECT(refs(nothing[n], MACH_PORT_RIGHT_SEND_ONCE), 1);
        EXPECT_CODE(mach_port_get_refs(self(), nothing[n], MACH_PORT_RIGHT_RECEIVE, &count), KERN_INVALID_NAME);
    }
    drop_port(told);
}

/* s1_8_names */
static void all_names_are_listed(void)
{
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t before, count, types_count;
    OK(mach_port_names(self(), &names, &before, &types, &types_count));
    OK(vm_deallocate(self(), (vm_address_t)names, before * sizeof *names));
    OK(vm_deallocate(self(), (vm_address_t)types, before * sizeof *types));
    mach_port_t died = new_port_with_send(), once = new_send_once(died), set = new_set();
    drop_port(died);
    enum { MANY = 5000 };
    static mach_port_t many[MANY];
    for (int n = 0; n < MANY; n++)
        many[n] = new_dead_name();
    OK(mach_port_names(self(), &names, &count, &types, &types_count));
    EXPECT(count, before + MANY + 3);
    EXPECT(types_count, count);
    int dead = 0, sets = 0;
    for (unsigned n = 0; n < count; n++) {
        /* A port that has died shows as what it has become. */
        dead += (names[n] == died || names[n] == once) && types[n] == MACH_PORT_TYPE_DEAD_NAME;
        sets += names[n] == set && types[n] == MACH_PORT_TYPE_PORT_SET;
    }
    EXPECT(dead, 2);
    EXPECT(sets, 1);
    OK(vm_deallocate(self(), (vm_address_t)names, count * sizeof *names));
    OK(vm_deallocate(self(), (vm_address_t)types, count * sizeof *types));
    for (int n = 0; n < MANY; n++)
        OK(mach_port_deallocate(self(), many[n]));
    const mach_port_t drop[] = {died, once, set};
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_8_insert_right */
static void rights_go_into_another_task(void)
{
    other_t other = start_other();
    mach_port_t control = other.task.control, mine = new_port(), second = new_port(), at = 0x60000003;
    mach_port_urefs_t count = 0;
    mach_port_type_t type = 0;
    OK(mach_port_insert_right(control, at, mine, MACH_MSG_TYPE_MAKE_SEND));
    OK(mach_port_insert_right(control, at, mine, MACH_MSG_TYPE_MAKE_SEND));
    OK(mach_port_get_refs(control, at, MACH_PORT_RIGHT_SEND, &count));
    EXPECT(count, 2);
    EXPECT_CODE(mach_port_insert_right(control, 0x60000103, mine, MACH_MSG_TYPE_MAKE_SEND), KERN_RIGHT_EXISTS);
    EXPECT_CODE(mach_port_insert_right(control, at, second, MACH_MSG_TYPE_MAKE_SEND), KERN_NAME_EXISTS);
    EXPECT_CODE(mach_port_insert_right(control, at, mine, MACH_MSG_TYPE_MAKE_SEND_ONCE), KERN_NAME_EXISTS);
    notice(mine, MACH_NOTIFY_SEND_ONCE);
    OK(mach_port_insert_right(control, 0x60000203, mine, MACH_MSG_TYPE_MAKE_SEND_ONCE));
    OK(mach_port_insert_right(control, at, mine, MACH_MSG_TYPE_MOVE_RECEIVE));
    OK(mach_port_type(control, at, &type));
    EXPECT(type, MACH_PORT_TYPE_SEND_RECEIVE);
    EXPECT(type_of(mine), MACH_PORT_TYPE_NONE);
    const struct {
        mach_port_t name, right;
        unsigned disposition;
        kern_return_t code;
    } bad[] = {{at, NOTHING, 20, KERN_INVALID_NAME},
               {at, MACH_PORT_NULL, 20, KERN_INVALID_CAPABILITY},
               {at, MACH_PORT_DEAD, 20, KERN_INVALID_CAPABILITY},
               {at, second, 99, KERN_INVALID_VALUE},
               {at, second, 22, KERN_INVALID_VALUE},
               {at, second, 18, KERN_INVALID_RIGHT},
               {MACH_PORT_NULL, second, 20, KERN_INVALID_VALUE},
               {122, second, 20, KERN_INVALID_VALUE},
               {123, second, 20, KERN_FAILURE}};
    for (unsigned n = 0; n < COUNT(bad); n++)
        EXPECT_CODE(mach_port_insert_right(control, bad[n].name, bad[n].right, bad[n].disposition), bad[n].code);
    drop_port(second);
    end_other(&other);
}

/* s1_8_extract_right */
static void rights_come_out_of_another_task(void)
{
    other_t other = start_other();
    mach_port_t control = other.task.control, theirs = 0, name = 0, again = 0, once = 0;
    mach_msg_type_name_t kind = 0;
    mach_port_type_t type = 0;
    OK(mach_port_allocate(control, MACH_PORT_RIGHT_RECEIVE, &theirs));
    OK(mach_port_extract_right(control, theirs, MACH_MSG_TYPE_MAKE_SEND, &name, &kind));
    EXPECT(kind, MACH_MSG_TYPE_PORT_SEND);
    OK(mach_port_extract_right(control, theirs, MACH_MSG_TYPE_MAKE_SEND, &again, &kind));
    EXPECT(again, name);
    EXPECT(refs(name, MACH_PORT_RIGHT_SEND), 2);
    OK(mach_port_extract_right(control, theirs, MACH_MSG_TYPE_MAKE_SEND_ONCE, &once, &kind));
    EXPECT(kind, MACH_MSG_TYPE_PORT_SEND_ONCE);
    OK(mach_port_extract_right(control, theirs, MACH_MSG_TYPE_MOVE_RECEIVE, &again, &kind));
    EXPECT(again, name);
    EXPECT(kind, MACH_MSG_TYPE_PORT_RECEIVE);
    EXPECT_CODE(mach_port_type(control, theirs, &type), KERN_INVALID_NAME);
    EXPECT(type_of(name), MACH_PORT_TYPE_SEND_RECEIVE);
    EXPECT_CODE(mach_port_extract_right(control, theirs, MACH_MSG_TYPE_MOVE_RECEIVE, &again, &kind), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_extract_right(control, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND, &again, &kind), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_extract_right(self(), self(), MACH_MSG_TYPE_MOVE_RECEIVE, &again, &kind), KERN_INVALID_RIGHT);
    OK(mach_port_destroy(self(), once));
    OK(mach_port_destroy(self(), name));
    end_other(&other);
}

/* s1_8_receive_status s1_8_set_mscount_and_seqno */
static void status_has_all_fields(void)
{
    mach_port_t name = new_port(), told = new_port(), set = new_set(), once[2];
    static const unsigned fresh[10] = {0, 0, 0, 5, 0, 0, 0, 0, 0, 0}, full[10] = {1, 7, 2, 9, 3, 2, 1, 1, 1, 0};
    mach_port_status_t status = status_of(name);
    EXPECT(memcmp(&status, fresh, sizeof status), 0);
    OK(mach_port_insert_member(self(), name, set));
    OK(mach_port_set_seqno(self(), name, 7));
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    OK(mach_port_insert_right(self(), name, name, MACH_MSG_TYPE_MAKE_SEND));
    set_limit(name, 9);
    fill(name, 3);
    once[0] = new_send_once(name);
    once[1] = new_send_once(name);
    request(name, MACH_NOTIFY_PORT_DESTROYED, 0, told);
    request(name, MACH_NOTIFY_NO_SENDERS, 0, told);
    status = status_of(name);
    EXPECT(memcmp(&status, full, sizeof status), 0);
    /* Values are stored, and nothing fires because of them. */
    OK(mach_port_set_mscount(self(), name, 10));
    OK(mach_port_set_seqno(self(), name, ~0u));
    EXPECT(status_of(name).mps_mscount, 10);
    EXPECT(status_of(name).mps_seqno, ~0u);
    expect_nothing(told);
    EXPECT_CODE(mach_port_set_mscount(self(), self(), 1), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_set_mscount(self(), NOTHING, 1), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_set_seqno(self(), self(), 1), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_set_seqno(self(), NOTHING, 1), KERN_INVALID_NAME);
    mach_msg_type_number_t count = 10;
    EXPECT_CODE(mach_port_get_attributes(self(), self(), MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count), KERN_INVALID_RIGHT);
    const mach_port_t drop[] = {once[0], once[1], told, set};
    OK(mach_port_destroy(self(), name));
    for (unsigned n = 0; n < COUNT(drop); n++)
        OK(mach_port_destroy(self(), drop[n]));
}

/* s1_8_attributes */
static void attributes_by_flavour(void)
{
    mach_port_t name = new_port();
    mach_port_guard_info_t guard = {0};
    int info[17];
    mach_msg_type_number_t count = COUNT(info);
    OK(mach_port_get_attributes(self(), name, MACH_PORT_DNREQUESTS_SIZE, info, &count));
    EXPECT(count, 1);
    OK(mach_port_guard(self(), name, 0x77, FALSE));
    count = MACH_PORT_GUARD_INFO_COUNT;
    OK(mach_port_get_attributes(self(), name, MACH_PORT_GUARD_INFO, (mach_port_info_t)&guard, &count));
    EXPECT(guard.mpgi_guard, 0x77);
    static const int taken[] = {MACH_PORT_TEMPOWNER, MACH_PORT_IMPORTANCE_RECEIVER, MACH_PORT_DENAP_RECEIVER};
    for (unsigned n = 0; n < COUNT(taken); n++) {
        info[0] = 1;
        OK(mach_port_set_attributes(self(), name, taken[n], info, 1));
    }
    static const int none[] = {0, 10, 99};
    for (unsigned n = 0; n < COUNT(none); n++) {
        count = COUNT(info);
        EXPECT_CODE(mach_port_get_attributes(self(), name, none[n], info, &count), KERN_INVALID_ARGUMENT);
        EXPECT_CODE(mach_port_set_attributes(self(), name, none[n], info, 1), KERN_INVALID_ARGUMENT);
    }
    EXPECT_CODE(mach_port_set_attributes(self(), name, MACH_PORT_RECEIVE_STATUS, info, 10), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_set_attributes(self(), name, MACH_PORT_LIMITS_INFO, info, 0), KERN_FAILURE);
    EXPECT_CODE(mach_port_set_attributes(self(), name, MACH_PORT_LIMITS_INFO, NULL, 1), KERN_INVALID_ARGUMENT);
    count = 1;
    EXPECT_CODE(mach_port_get_attributes(self(), self(), MACH_PORT_LIMITS_INFO, info, &count), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_get_attributes(self(), NOTHING, MACH_PORT_LIMITS_INFO, info, &count), KERN_INVALID_NAME);
    OK(mach_port_destruct(self(), name, 0, 0x77));
}

/* s1_8_set_status */
static void members_of_a_set_are_listed(void)
{
    enum { PORTS = 40 };
    mach_port_t set = new_set(), ports[PORTS];
    mach_port_name_array_t names;
    mach_msg_type_number_t count;
    for (int n = 0; n < PORTS; n++) {
        ports[n] = new_port();
        OK(mach_port_insert_member(self(), ports[n], set));
    }
    for (int left = PORTS; left >= PORTS - 1; left--) {
        OK(mach_port_get_set_status(self(), set, &names, &count));
        EXPECT(count, left);
        for (int n = 0; n < left; n++) {
            int found = 0;
            for (unsigned at = 0; at < count; at++)
                found += names[at] == ports[n];
            EXPECT(found, 1);
        }
        OK(vm_deallocate(self(), (vm_address_t)names, count * sizeof *names));
        drop_port(ports[left - 1]);
    }
    EXPECT_CODE(mach_port_get_set_status(self(), ports[0], &names, &count), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_get_set_status(self(), NOTHING, &names, &count), KERN_INVALID_NAME);
    for (int n = 0; n < PORTS - 2; n++)
        drop_port(ports[n]);
    OK(mach_port_destroy(self(), set));
}

/* s1_8_guards s1_8_context */
static void guards_and_contexts(void)
{
    mach_port_t name = new_port(), other = new_port();
    mach_port_context_t context = 1;
    OK(mach_port_guard(self(), name, 0xfeed, FALSE));
    EXPECT_CODE(mach_port_guard(self(), name, 0xfeed, FALSE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_RECEIVE, -1), KERN_INVALID_RIGHT);
    TRUE_THAT(mach_port_destroy(self(), name) != KERN_SUCCESS);
    EXPECT_CODE(mach_port_destruct(self(), name, 0, 1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_unguard(self(), name, 1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_swap_guard(self(), name, 1, 2), KERN_INVALID_ARGUMENT);
    OK(mach_port_swap_guard(self(), name, 0xfeed, 0xbeef));
    OK(mach_port_unguard(self(), name, 0xbeef));
    EXPECT_CODE(mach_port_unguard(self(), name, 0xbeef), KERN_INVALID_ARGUMENT);
    /* With a context there is no place for a guard. */
    OK(mach_port_set_context(self(), name, 4));
    EXPECT_CODE(mach_port_guard(self(), name, 5, FALSE), KERN_INVALID_ARGUMENT);
    OK(mach_port_set_context(self(), name, 0));
    /* A strict guard is a secret. */
    OK(mach_port_guard(self(), name, 0x5ec, TRUE));
    OK(mach_port_get_context(self(), name, &context));
    EXPECT(context, 0);
    EXPECT_CODE(mach_port_set_context(self(), name, 1), KERN_INVALID_ARGUMENT);
    OK(mach_port_destruct(self(), name, 0, 0x5ec));
    EXPECT_CODE(mach_port_guard_with_flags(self(), other, 1, 8), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_unguard(self(), NOTHING, 1), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_unguard(self(), self(), 1), KERN_INVALID_RIGHT);
    OK(mach_port_set_context(self(), other, ~1ull));
    OK(mach_port_get_context(self(), other, &context));
    EXPECT(context, ~1ull);
    EXPECT_CODE(mach_port_get_context(self(), self(), &context), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_set_context(self(), self(), 1), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_get_context(self(), NOTHING, &context), KERN_INVALID_NAME);
    drop_port(other);
}

static kern_return_t peek(mach_port_t name, unsigned trailer_type, mach_port_seqno_t *seqno, mach_msg_size_t *size, mach_msg_id_t *id,
                          mach_msg_type_number_t *room)
{
    static char trailer[MAX_TRAILER_SIZE];
    *room = sizeof trailer;
    return mach_port_peek(self(), name, (mach_msg_trailer_type_t)trailer_type, seqno, size, id, trailer, room);
}

/* s1_8_peek */
static void peeked_message_stays(void)
{
    mach_port_t name = new_port_with_send();
    mach_port_seqno_t seqno = 0;
    mach_msg_size_t size = 0;
    mach_msg_id_t id = 0;
    mach_msg_type_number_t room;
    any_message m;
    EXPECT_CODE(peek(name, 0, &seqno, &size, &id, &room), KERN_FAILURE);
    OK(mach_port_set_seqno(self(), name, 40));
    for (int n = 0; n < 3; n++) {
        start_message(&m, name, MACH_MSG_TYPE_COPY_SEND, (mach_msg_size_t)(24 + 4 * n), n);
        OK(send_it(&m));
    }
    OK(peek(name, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), &seqno, &size, &id, &room));
    EXPECT(seqno, 40);
    EXPECT(size, 24 + 8);
    EXPECT(id, 0);
    EXPECT(room, 52);
    seqno = 42;
    OK(peek(name, 0, &seqno, &size, &id, &room));
    EXPECT(size, 32 + 8);
    EXPECT(id, 2);
    EXPECT(room, 8);
    for (seqno = 39; seqno <= 43; seqno += 4)
        EXPECT_CODE(peek(name, 0, &seqno, &size, &id, &room), KERN_FAILURE);
    EXPECT(status_of(name).mps_msgcount, 3);
    seqno = 0;
    EXPECT_CODE(peek(self(), 0, &seqno, &size, &id, &room), KERN_INVALID_RIGHT);
    EXPECT_CODE(peek(NOTHING, 0, &seqno, &size, &id, &room), KERN_INVALID_NAME);
    OK(mach_port_destroy(self(), name));
}

/* s1_8_introspection */
static void what_is_behind_names(void)
{
    other_t other = start_other();
    mach_port_t name = new_port_with_send(), held = 0x60000003;
    natural_t kind = 9, theirs = 9;
    mach_vm_address_t object = 0, same = 1;
    OK(mach_port_insert_right(other.task.control, held, name, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(srights_of(name), 2);
    mach_port_rights_t count;
    EXPECT_CODE(mach_port_get_srights(other.task.control, held, &count), KERN_INVALID_RIGHT);
    OK(mach_port_kobject(self(), name, &kind, &object));
    OK(mach_port_kobject(other.task.control, held, &theirs, &same));
    EXPECT(kind, 0);
    EXPECT(theirs, 0);
    EXPECT(object, same);
    ipc_info_space_t info;
    ipc_info_name_array_t table;
    ipc_info_tree_name_array_t tree;
    mach_msg_type_number_t rows, trees, found = 0;
    OK(mach_port_space_info(other.task.control, &info, &table, &rows, &tree, &trees));
    for (unsigned n = 0; n < rows; n++)
        found += table[n].iin_name == held && table[n].iin_urefs == 1 && table[n].iin_type == MACH_PORT_TYPE_SEND;
    EXPECT(found, 1);
    OK(vm_deallocate(self(), (vm_address_t)table, rows * sizeof *table));
    OK(mach_port_destroy(self(), name));
    end_other(&other);
}

CHECK_MAIN(CASE(allocate_in_another_task), CASE(construct_and_destruct), CASE(deallocate_and_destroy), CASE(references_by_kind),
           CASE(all_names_are_listed), CASE(rights_go_into_another_task), CASE(rights_come_out_of_another_task), CASE(status_has_all_fields),
           CASE(attributes_by_flavour), CASE(members_of_a_set_are_listed), CASE(guards_and_contexts), CASE(peeked_message_stays),
           CASE(what_is_behind_names))
