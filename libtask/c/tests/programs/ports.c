/* mach_port_* through the C interface, each with the codes that it can give. */
#include "check.h"

#define BAD 0x7ffffe03u

static mach_port_t self(void)
{
    return mach_task_self();
}

/* s1_8_allocate */
static void allocate_makes_each_kind(void)
{
    mach_port_t name = 0;
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_RECEIVE, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    EXPECT(name & 3, 3);
    drop_port(name);
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_PORT_SET, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_PORT_SET);
    OK(mach_port_mod_refs(self(), name, MACH_PORT_RIGHT_PORT_SET, -1));
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_DEAD_NAME, &name));
    EXPECT(type_of(name), MACH_PORT_TYPE_DEAD_NAME);
    OK(mach_port_deallocate(self(), name));
    EXPECT_CODE(mach_port_allocate(self(), MACH_PORT_RIGHT_SEND, &name), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate(self(), MACH_PORT_RIGHT_SEND_ONCE, &name), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate(self(), 77, &name), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate(self(), MACH_PORT_RIGHT_RECEIVE, NULL), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_allocate(MACH_PORT_NULL, MACH_PORT_RIGHT_RECEIVE, &name), MACH_SEND_INVALID_DEST);
}

/* s1_8_allocate_name */
static void allocate_under_a_chosen_name(void)
{
    mach_port_t name = 0x00012303;
    OK(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, name));
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, name), KERN_NAME_EXISTS);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 122), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_allocate_name(self(), MACH_PORT_RIGHT_RECEIVE, 123), KERN_FAILURE);
    drop_port(name);
    mach_port_qos_t qos;
    memset(&qos, 0, sizeof qos);
    OK(mach_port_allocate_qos(self(), MACH_PORT_RIGHT_RECEIVE, &qos, &name));
    drop_port(name);
    qos.name = 1;
    name = 0x00012303;
    OK(mach_port_allocate_full(self(), MACH_PORT_RIGHT_RECEIVE, MACH_PORT_NULL, &qos, &name));
    EXPECT(type_of(0x00012303), MACH_PORT_TYPE_RECEIVE);
    drop_port(0x00012303);
}

static void references_count(void)
{
    mach_port_t port = new_port_with_send();
    OK(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_SEND, 9));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 10);
    EXPECT_CODE(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_SEND, -11), KERN_INVALID_VALUE);
    OK(mach_port_deallocate(self(), port));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 9);
    EXPECT(refs(port, MACH_PORT_RIGHT_RECEIVE), 1);
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND_ONCE), 0);
    EXPECT_CODE(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_RECEIVE, 1), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_PORT_SET, -1), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_mod_refs(self(), port, 99, -1), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_mod_refs(self(), BAD, MACH_PORT_RIGHT_SEND, -1), KERN_INVALID_NAME);
    mach_port_urefs_t count;
    EXPECT_CODE(mach_port_get_refs(self(), BAD, MACH_PORT_RIGHT_SEND, &count), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_get_refs(self(), port, 99, &count), KERN_INVALID_VALUE);
    /* They stick at the top, and then only all of them can be dropped. */
    OK(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_SEND, 65535));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 65535);
    OK(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_SEND, -5));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 65535);
    OK(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_SEND, -65535));
    EXPECT(type_of(port), MACH_PORT_TYPE_RECEIVE);
    drop_port(port);
    EXPECT_CODE(mach_port_deallocate(self(), BAD), KERN_INVALID_NAME);
    OK(mach_port_deallocate(self(), MACH_PORT_NULL));
    OK(mach_port_deallocate(self(), MACH_PORT_DEAD));
    port = new_port();
    EXPECT_CODE(mach_port_deallocate(self(), port), KERN_INVALID_RIGHT);
    drop_port(port);
}

static void rights_are_inserted_and_extracted(void)
{
    mach_port_t port = new_port(), other = new_port(), right = 0;
    mach_msg_type_name_t kind = 0;
    OK(mach_port_insert_right(self(), port, port, MACH_MSG_TYPE_MAKE_SEND));
    OK(mach_port_insert_right(self(), port, port, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(refs(port, MACH_PORT_RIGHT_SEND), 2);
    EXPECT_CODE(mach_port_insert_right(self(), 0x00045603, port, MACH_MSG_TYPE_COPY_SEND), KERN_RIGHT_EXISTS);
    EXPECT_CODE(mach_port_insert_right(self(), port, port, 5), KERN_INVALID_VALUE);
    OK(mach_port_extract_right(self(), port, MACH_MSG_TYPE_MAKE_SEND_ONCE, &right, &kind));
    EXPECT(kind, MACH_MSG_TYPE_PORT_SEND_ONCE);
    EXPECT(type_of(right), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT_CODE(mach_port_insert_right(self(), other, right, MACH_MSG_TYPE_MOVE_SEND_ONCE), KERN_NAME_EXISTS);
    /* It was taken all the same. */
    EXPECT(type_of(right), MACH_PORT_TYPE_NONE);
    EXPECT_CODE(mach_port_insert_right(self(), other, port, MACH_MSG_TYPE_COPY_SEND), KERN_RIGHT_EXISTS);
    EXPECT_CODE(mach_port_extract_right(self(), other, MACH_MSG_TYPE_COPY_SEND, &right, &kind), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_extract_right(self(), BAD, MACH_MSG_TYPE_COPY_SEND, &right, &kind), KERN_INVALID_NAME);
    EXPECT_CODE(mach_port_extract_right(self(), other, 4, &right, &kind), KERN_INVALID_VALUE);
    OK(mach_port_destroy(self(), port));
    EXPECT_CODE(mach_port_destroy(self(), BAD), KERN_INVALID_NAME);
    drop_port(other);
}

/* s1_8_names s1_8_introspection */
static void listing_has_all_names(void)
{
    mach_port_t port = new_port_with_send();
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t count, types_count, found = 0;
    OK(mach_port_names(self(), &names, &count, &types, &types_count));
    EXPECT(count, types_count);
    for (mach_msg_type_number_t n = 0; n < count; n++)
        if (names[n] == port) {
            found++;
            EXPECT(types[n], MACH_PORT_TYPE_SEND_RECEIVE);
        }
    EXPECT(found, 1);
    OK(vm_deallocate(self(), (vm_address_t)names, count * sizeof *names));
    OK(vm_deallocate(self(), (vm_address_t)types, count * sizeof *types));

    ipc_info_space_t info;
    ipc_info_name_array_t table;
    ipc_info_tree_name_array_t tree;
    mach_msg_type_number_t tree_count;
    OK(mach_port_space_info(self(), &info, &table, &count, &tree, &tree_count));
    EXPECT(info.iis_table_size, count);
    for (mach_msg_type_number_t n = 0; n < count; n++)
        if (table[n].iin_name == port)
            EXPECT(table[n].iin_urefs, 1);
    OK(vm_deallocate(self(), (vm_address_t)table, count * sizeof *table));
    ipc_info_space_basic_t basic;
    OK(mach_port_space_basic_info(self(), &basic));
    TRUE_THAT(basic.iisb_table_inuse > 0);
    OK(mach_port_destroy(self(), port));
}

/* s1_8_attributes */
static void attributes_are_read_and_set(void)
{
    mach_port_t port = new_port_with_send(), set;
    mach_port_status_t status;
    mach_msg_type_number_t count = MACH_PORT_RECEIVE_STATUS_COUNT;
    OK(mach_port_get_attributes(self(), port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    EXPECT(count, MACH_PORT_RECEIVE_STATUS_COUNT);
    EXPECT(status.mps_qlimit, 5);
    EXPECT(status.mps_mscount, 1);
    EXPECT(status.mps_srights, 1);
    EXPECT(status.mps_pset, 0);
    mach_port_limits_t limits = {7};
    OK(mach_port_set_attributes(self(), port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, MACH_PORT_LIMITS_INFO_COUNT));
    limits.mpl_qlimit = 0;
    count = 1;
    OK(mach_port_get_attributes(self(), port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, &count));
    EXPECT(limits.mpl_qlimit, 7);
    limits.mpl_qlimit = 1025;
    EXPECT_CODE(mach_port_set_attributes(self(), port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, 1), KERN_INVALID_VALUE);
    EXPECT_CODE(mach_port_set_attributes(self(), port, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, 0), KERN_FAILURE);
    EXPECT_CODE(mach_port_set_attributes(self(), port, 99, (mach_port_info_t)&limits, 1), KERN_INVALID_ARGUMENT);
    count = 3;
    EXPECT_CODE(mach_port_get_attributes(self(), port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count), KERN_FAILURE);
    EXPECT_CODE(mach_port_get_attributes(self(), port, 99, (mach_port_info_t)&status, &count), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(mach_port_get_attributes(self(), BAD, MACH_PORT_LIMITS_INFO, (mach_port_info_t)&limits, &count), KERN_INVALID_NAME);
    mach_port_info_ext_t extended;
    count = MACH_PORT_INFO_EXT_COUNT;
    OK(mach_port_get_attributes(self(), port, MACH_PORT_INFO_EXT, (mach_port_info_t)&extended, &count));
    EXPECT(extended.mpie_status.mps_qlimit, 7);
    OK(mach_port_set_mscount(self(), port, 42));
    OK(mach_port_set_seqno(self(), port, 43));
    count = MACH_PORT_RECEIVE_STATUS_COUNT;
    OK(mach_port_get_attributes(self(), port, MACH_PORT_RECEIVE_STATUS, (mach_port_info_t)&status, &count));
    EXPECT(status.mps_mscount, 42);
    EXPECT(status.mps_seqno, 43);
    mach_port_rights_t senders;
    OK(mach_port_get_srights(self(), port, &senders));
    EXPECT(senders, 1);
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_PORT_SET, &set));
    EXPECT_CODE(mach_port_set_mscount(self(), set, 1), KERN_INVALID_RIGHT);
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), port));
}

/* s1_7_insert_and_extract_member s1_8_set_status */
static void sets_have_members(void)
{
    mach_port_t one = new_port(), two = new_port(), set, other;
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_PORT_SET, &set));
    OK(mach_port_allocate(self(), MACH_PORT_RIGHT_PORT_SET, &other));
    OK(mach_port_insert_member(self(), one, set));
    OK(mach_port_insert_member(self(), one, other));
    EXPECT_CODE(mach_port_insert_member(self(), one, set), KERN_ALREADY_IN_SET);
    EXPECT_CODE(mach_port_insert_member(self(), set, other), KERN_INVALID_RIGHT);
    EXPECT_CODE(mach_port_insert_member(self(), one, two), KERN_INVALID_RIGHT);
    OK(mach_port_move_member(self(), two, set));
    mach_port_name_array_t members;
    mach_msg_type_number_t count;
    OK(mach_port_get_set_status(self(), set, &members, &count));
    EXPECT(count, 2);
    OK(vm_deallocate(self(), (vm_address_t)members, count * sizeof *members));
    EXPECT_CODE(mach_port_get_set_status(self(), one, &members, &count), KERN_INVALID_RIGHT);
    any_message m;
    start_message(&m, two, MACH_MSG_TYPE_MAKE_SEND, 24, 8);
    OK(send_it(&m));
    OK(receive_it(&m, set));
    EXPECT(m.header.msgh_local_port, two);
    start_message(&m, two, MACH_MSG_TYPE_MAKE_SEND, 24, 9);
    OK(send_it(&m));
    OK(receive_it(&m, two));
    OK(mach_port_extract_member(self(), one, set));
    EXPECT_CODE(mach_port_extract_member(self(), one, set), KERN_NOT_IN_SET);
    OK(mach_port_move_member(self(), one, MACH_PORT_NULL));
    EXPECT_CODE(mach_port_move_member(self(), one, MACH_PORT_NULL), KERN_NOT_IN_SET);
    expect_nothing(set);
    OK(mach_port_destroy(self(), set));
    OK(mach_port_destroy(self(), other));
    drop_port(one);
    drop_port(two);
}

/* s1_8_guards */
static void guards_hold(void)
{
    mach_port_t port = new_port();
    OK(mach_port_guard(self(), port, 5, TRUE));
    EXPECT_CODE(mach_port_guard(self(), port, 5, TRUE), KERN_INVALID_ARGUMENT);
    TRUE_THAT(mach_port_mod_refs(self(), port, MACH_PORT_RIGHT_RECEIVE, -1) != KERN_SUCCESS);
    TRUE_THAT(mach_port_unguard(self(), port, 6) != KERN_SUCCESS);
    OK(mach_port_swap_guard(self(), port, 5, 6));
    mach_port_guard_info_t guard = {6};
    OK(mach_port_assert_attributes(self(), port, MACH_PORT_GUARD_INFO, (mach_port_info_t)&guard, MACH_PORT_GUARD_INFO_COUNT));
    guard.mpgi_guard = 7;
    TRUE_THAT(mach_port_assert_attributes(self(), port, MACH_PORT_GUARD_INFO, (mach_port_info_t)&guard, MACH_PORT_GUARD_INFO_COUNT) != KERN_SUCCESS);
    OK(mach_port_unguard(self(), port, 6));
    drop_port(port);

    mach_port_options_t options;
    memset(&options, 0, sizeof options);
    options.flags = MPO_CONTEXT_AS_GUARD | MPO_QLIMIT | MPO_INSERT_SEND_RIGHT;
    options.mpl.mpl_qlimit = 9;
    OK(mach_port_construct(self(), &options, 0x99, &port));
    EXPECT(type_of(port), MACH_PORT_TYPE_SEND_RECEIVE);
    TRUE_THAT(mach_port_destruct(self(), port, 0, 0x98) != KERN_SUCCESS);
    OK(mach_port_destruct(self(), port, -1, 0x99));
    EXPECT(type_of(port), MACH_PORT_TYPE_NONE);
    EXPECT_CODE(mach_port_construct(self(), NULL, 0, &port), KERN_INVALID_ARGUMENT);
}

/* s1_2_move_receive_takes_guard_and_context_off */
static void immovable_receive_right_stays(void)
{
    mach_port_t dest = new_port(), port = new_port();
    OK(mach_port_guard_with_flags(self(), port, 1, MPG_IMMOVABLE_RECEIVE));
    any_message m;
    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.port, 1);
    m.port.port.name = port;
    m.port.port.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    OK(mach_port_destruct(self(), port, 0, 1));
    drop_port(dest);
}

/* s1_8_context */
static void context_is_kept(void)
{
    mach_port_t port = new_port();
    mach_port_context_t context = 1;
    OK(mach_port_get_context(self(), port, &context));
    EXPECT(context, 0);
    OK(mach_port_set_context(self(), port, 0xfeedface12345678));
    OK(mach_port_get_context(self(), port, &context));
    EXPECT(context, 0xfeedface12345678);
    EXPECT_CODE(mach_port_set_context(self(), BAD, 1), KERN_INVALID_NAME);
    drop_port(port);
}

/* s1_8_peek */
static void peek_looks_without_taking(void)
{
    mach_port_t port = new_port();
    mach_port_seqno_t seqno = 0;
    mach_msg_size_t size = 0;
    mach_msg_id_t id = 0;
    char trailer[MAX_TRAILER_SIZE];
    mach_msg_type_number_t room = sizeof trailer;
    EXPECT_CODE(mach_port_peek(self(), port, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), &seqno, &size, &id, trailer, &room), KERN_FAILURE);
    any_message m;
    start_message(&m, port, MACH_MSG_TYPE_MAKE_SEND, 40, 17);
    OK(send_it(&m));
    room = sizeof trailer;
    OK(mach_port_peek(self(), port, MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), &seqno, &size, &id, trailer, &room));
    EXPECT(id, 17);
    EXPECT(size, 48);
    EXPECT(room, 52);
    OK(receive_it(&m, port));
    drop_port(port);
}

/* s1_8_introspection */
static void kernel_objects_are_told(void)
{
    natural_t kind = 99;
    mach_vm_address_t address = 0;
    mach_port_t port = new_port();
    memory_object_size_t size = 4096;
    mach_port_t host = mach_host_self(), entry, control;
    OK(mach_make_memory_entry_64(self(), &size, 0, MAP_MEM_NAMED_CREATE | VM_PROT_DEFAULT, &entry, MACH_PORT_NULL));
    OK(task_get_special_port(self(), TASK_NAME_PORT, &control));
    const struct {
        mach_port_t name;
        natural_t kind;
    } all[] = {{mach_task_self(), IKOT_TASK_CONTROL}, {host, IKOT_HOST}, {control, IKOT_TASK_NAME}, {entry, IKOT_NAMED_ENTRY}};
    for (unsigned n = 0; n < COUNT(all); n++) {
        OK(mach_port_kobject(self(), all[n].name, &kind, &address));
        EXPECT(kind, all[n].kind);
        TRUE_THAT(address != 0);
    }
    OK(mach_port_deallocate(self(), host));
    OK(mach_port_deallocate(self(), control));
    OK(mach_port_deallocate(self(), entry));
    OK(mach_port_kobject(self(), port, &kind, &address));
    EXPECT(kind, 0);
    EXPECT_CODE(mach_port_kobject(self(), BAD, &kind, &address), KERN_INVALID_NAME);
    drop_port(port);
}

static void removed_calls_say_so(void)
{
    EXPECT_CODE(mach_port_rename(self(), 1, 2), MIG_BAD_ID);
    OK(task_set_port_space(self(), 100));
}

CHECK_MAIN(CASE(allocate_makes_each_kind), CASE(allocate_under_a_chosen_name), CASE(references_count), CASE(rights_are_inserted_and_extracted),
           CASE(listing_has_all_names), CASE(attributes_are_read_and_set), CASE(sets_have_members), CASE(guards_hold),
           CASE(immovable_receive_right_stays), CASE(context_is_kept), CASE(peek_looks_without_taking), CASE(kernel_objects_are_told),
           CASE(removed_calls_say_so))
