//! A look as JSON.

use kettle_core::watch::{Content, Lock, Object, Process, ProcessState, Queue, Thread, Wait};

use crate::json::Json;
use crate::look::Look;
use crate::names;

/// All of it.
pub(crate) fn of(look: &Look) -> Json {
    let seen = &look.seen;
    let memory = &seen.memory;
    Json::Object(vec![
        ("session", Json::Text(format!("{:016x}", seen.session))),
        ("taken", Json::from(seen.taken as f64 / 1e9)),
        ("processes", Json::List(seen.processes.iter().map(|p| process(look, p)).collect())),
        ("objects", Json::List(seen.objects.iter().map(object).collect())),
        ("waits", Json::List(seen.waits.iter().map(|w| wait(look, w)).collect())),
        (
            "memory",
            Json::Object(vec![
                ("resident", memory.resident.into()),
                ("allocated", memory.allocated.into()),
                ("kept", memory.kept.into()),
                ("messages", memory.messages.into()),
                ("limit", Some(memory.limit).filter(|&limit| limit != 0).into()),
                ("objects", memory.objects.into()),
            ]),
        ),
        ("damage", seen.damage.map(|damage| damage.to_string()).into()),
        ("unread", seen.unread.into()),
    ])
}

fn process(look: &Look, process: &Process) -> Json {
    let facts = look.facts.get(&process.pid);
    let state = match process.state {
        ProcessState::Starting => "starting",
        ProcessState::Dead => "dead",
        ProcessState::Alive if facts.is_some_and(crate::system::Facts::is_stopped) => "stopped",
        ProcessState::Alive => "alive",
    };
    let threads = facts.map(|facts| {
        Json::List(
            facts
                .threads
                .iter()
                .map(|thread| {
                    Json::Object(vec![
                        ("tid", thread.tid.into()),
                        ("name", thread.name.as_str().into()),
                        ("state", thread.doing().into()),
                    ])
                })
                .collect(),
        )
    });
    Json::Object(vec![
        ("pid", process.pid.into()),
        ("id", process.id.into()),
        ("state", state.into()),
        ("command", facts.map(|facts| facts.command.as_str()).into()),
        ("memory", facts.and_then(|facts| facts.proportional).into()),
        ("threads", threads.unwrap_or(Json::Null)),
    ])
}

fn thread(thread: Thread) -> Json {
    Json::Object(vec![
        ("pid", thread.pid.into()),
        ("tid", Some(thread.tid).filter(|&tid| tid != 0).into()),
        ("alive", thread.alive.into()),
    ])
}

fn threads(all: &[Thread]) -> Json {
    Json::List(all.iter().map(|&one| thread(one)).collect())
}

fn object(object: &Object) -> Json {
    let mut fields = vec![
        ("kind", names::kind(&object.content).into()),
        ("number", object.generation.into()),
        ("holders", Json::list(object.holders.iter().copied())),
    ];
    fields.extend(match &object.content {
        Content::Lock(lock) => of_lock(lock),
        Content::Semaphore { value, limit, waiting, owners } => {
            vec![
                ("value", (*value).into()),
                ("limit", (*limit).into()),
                ("waiting", (*waiting).into()),
                ("owners", threads(owners)),
            ]
        }
        Content::Event { set, waiting } => vec![("set", (*set).into()), ("waiting", (*waiting).into())],
        Content::Condition { waiting, notified } => {
            vec![("waiters", threads(waiting)), ("notified", (*notified).into())]
        }
        Content::Barrier(barrier) => vec![
            ("parties", barrier.parties.into()),
            ("waiting", barrier.waiting.into()),
            ("broken", barrier.broken.into()),
            ("rounds", barrier.rounds.into()),
        ],
        Content::RwLock { writer, broken, readers, waiting } => vec![
            ("writer", writer.map_or(Json::Null, thread)),
            ("broken", (*broken).into()),
            ("readers", threads(readers)),
            ("waiting", (*waiting).into()),
        ],
        Content::Queue(queue) => of_queue(queue),
        Content::Bytes { len } => vec![("length", (*len).into())],
        Content::EventCount { waiting } => vec![("waiting", (*waiting).into())],
        _ => Vec::new(),
    });
    Json::Object(fields)
}

fn of_lock(lock: &Lock) -> Vec<(&'static str, Json)> {
    vec![
        ("holder", lock.holder.map_or(Json::Null, thread)),
        ("depth", lock.depth.into()),
        ("broken", lock.broken.into()),
        ("waiting", lock.waiting.into()),
        ("contended", lock.contended.into()),
    ]
}

fn of_queue(queue: &Queue) -> Vec<(&'static str, Json)> {
    let counters = &queue.counters;
    let consumers = queue.consumers.iter().map(|&(consumer, unfinished)| {
        Json::Object(vec![("process", thread(consumer)), ("unfinished", unfinished.into())])
    });
    vec![
        ("size", counters.size.into()),
        ("maxsize", counters.maxsize.into()),
        ("put", counters.put.into()),
        ("got", counters.got.into()),
        ("getters_waiting", counters.getters_waiting.into()),
        ("putters_waiting", counters.putters_waiting.into()),
        ("joiners_waiting", queue.joiners.into()),
        ("shut_down", counters.shut_down.into()),
        ("bytes", counters.bytes.into()),
        ("consumers", Json::List(consumers.collect())),
    ]
}

fn wait(look: &Look, wait: &Wait) -> Json {
    let text = wait.text.as_ref();
    Json::Object(vec![
        ("thread", thread(wait.thread)),
        ("name", text.map(|text| text.thread.as_str()).into()),
        ("seconds", look.age(wait.since).into()),
        ("for", names::wanted(look, wait).into()),
        ("holder", wait.holder.map_or(Json::Null, thread)),
        ("between_threads", wait.private.into()),
        ("stack", text.map(|text| text.stack.as_str()).into()),
    ])
}
