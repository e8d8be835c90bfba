//! Both sides in one process, with a kernel behind a function call: no daemon, nothing to clean up.

use libtask::{Task, run_local};
use {{crate}}::server::Host;
use {{crate}}::{Greeter, GreeterClient};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A client's task, and its right to a server that runs.
fn with_server(play: impl Fn(Task, GreeterClient) -> Outcome) -> Outcome {
    run_local(|kernel| -> Outcome {
        let server = kernel.task("server")?;
        let port = server.new_port_of::<dyn Greeter>()?;
        server.set_bootstrap(&port.make_send()?.untyped())?;
        let (client, _control) = server.spawn_local("client")?;
        std::thread::spawn(move || port.serve(Host::new(&server)));
        let greeter = GreeterClient::from(client.bootstrap()?.typed());
        play(client, greeter)
    })
}

#[test]
fn greets_by_name() -> Outcome {
    with_server(|_, greeter| {
        assert_eq!(greeter.greet("world".into())?, "hello, world");
        Ok(())
    })
}

#[test]
fn every_notebook_is_its_holders_alone() -> Outcome {
    with_server(|_, greeter| {
        let (mine, yours) = (greeter.notebook()?.client(), greeter.notebook()?.client());
        assert_eq!((mine.write("a".into())?, mine.write("b".into())?), (1, 2));
        assert_eq!(mine.read()?, ["a", "b"]);
        assert!(yours.read()?.is_empty());
        Ok(())
    })
}
