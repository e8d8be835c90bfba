//! Tasks, their control rights, and the host.

use super::*;

#[test]
fn task_information_labels_and_inheritance() {
    local(|kernel| {
        let parent = kernel.task("parent")?;
        let port = parent.new_port()?;
        let to = port.make_send()?;
        assert_eq!(parent.bootstrap().unwrap_err().code(), Code::KERN_NOT_FOUND);
        parent.set_bootstrap(&to)?;
        parent.register([Some(&to), None, None])?;
        let (child, control) = parent.spawn_local("child")?;
        assert_eq!((child.label()?, control.label()?), ("child".into(), "child".into()));
        child.set_label("renamed")?;
        assert_eq!(control.label()?, "renamed");
        assert_eq!(control.info()?.task, child.id());
        assert_eq!(control.info()?.parent, parent.id());
        child.bootstrap()?.send(Message::new(1))?;
        let [first, second, third] = child.registered()?;
        first.expect("inherited").send(Message::new(2))?;
        assert!(second.is_none() && third.is_none());
        assert_eq!((port.receive_within(SOON)?.id(), port.receive_within(SOON)?.id()), (1, 2));
        control.set_bootstrap(None)?;
        assert!(child.bootstrap().is_err());
        let mine = child.new_port()?;
        assert!(control.space()?.iter().any(|row| row.name == mine.name() && row.receiver == child.id()));
        control.terminate()?;
        assert!(matches!(child.new_port(), Err(Error::KernelGone)));
        Ok(())
    });
}

#[test]
fn host_shows_tasks_and_ports() {
    local(|kernel| {
        let task = kernel.task("watcher")?;
        let port = task.new_port()?;
        let host = task.host_control()?;
        assert!(host.tasks()?.iter().any(|row| row.task == task.id()));
        assert!(host.ports()?.iter().any(|row| row.name == port.name() && row.receiver == task.id()));
        assert_eq!(host.task(task.id())?.label()?, "watcher");
        assert_eq!(task.host()?.info()?.tasks, 1);
        Ok(())
    });
}

#[test]
fn control_right_of_another_task_moves_rights_in_and_out() {
    local(|kernel| {
        let parent = kernel.task("parent")?;
        let (child, control) = parent.spawn_local("child")?;
        let port = parent.new_port()?;
        let name = libtask::Name::new(500, 3);
        control.raw().port_insert_right(name, port.name(), libtask::Disposition::MakeSend).unwrap();
        assert_eq!(child.raw().port_type(name), Ok(TypeBits::SEND));
        libtask::SendRight::from_raw(&child, name).send(Message::new(6))?;
        assert_eq!(port.receive_within(SOON)?.id(), 6);
        Ok(())
    });
}

#[test]
fn host_bootstrap_is_what_newcomers_find() {
    local(|kernel| {
        let server = kernel.task("server")?;
        let port = server.new_port()?;
        let host = server.host_control()?;
        host.set_bootstrap(Some(&port.make_send()?))?;
        let newcomer = kernel.task("newcomer")?;
        newcomer.bootstrap()?.send(Message::new(3))?;
        assert_eq!(port.receive_within(SOON)?.id(), 3);
        host.set_bootstrap(None)?;
        assert!(kernel.task("late")?.bootstrap().is_err());
        Ok(())
    });
}
