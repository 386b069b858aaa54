"""Tables of tasks: requests, log, CRM copies, conversations."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    and_,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.base import Timestamp, metadata, number

_STATUS = "status IN ('open', 'closed', 'withdrawn')"

tasks = Table(
    "tasks",
    metadata,
    Column("key", Text, primary_key=True),
    number(unique=True),
    Column("run", Text, nullable=False, comment="The run that asked first; see task_asks for all."),
    Column("subject_key", Text, nullable=False),
    Column("journey", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("task", Text, nullable=False, comment="What is to be done."),
    Column(
        "reason",
        Text,
        nullable=False,
        server_default="",
        comment="What it is about: one is open for each scope and reason.",
    ),
    Column("scope_key", Text, comment="The account, or the person who has none."),
    Column("account_key", Text),
    Column("named", Text, comment="The owner the journey named."),
    Column("team", Text),
    Column("owner", Text, nullable=False),
    Column("why", Text, nullable=False, server_default="as the journey says", comment="How it came to its owner."),
    Column("level", Integer, nullable=False, server_default=text("0"), comment="How often it was escalated."),
    Column("data", JSONB, nullable=False, server_default="{}"),
    Column("status", Text, CheckConstraint(_STATUS, name="status"), nullable=False, server_default="open"),
    Column("resolution", Text),
    Column("opened_at", Timestamp, nullable=False),
    Column("due_at", Timestamp),
    Column("within", Text, comment="The deadline as working time, where it is counted so."),
    Column("remind_at", Timestamp),
    Column("reminded_at", Timestamp),
    Column("snoozed_until", Timestamp),
    Column("first_action_at", Timestamp),
    Column("closed_at", Timestamp),
    Column("closed_by", Text),
    Column("clock", Text),
    comment="Work for a team member.",
)
_open = tasks.c.status == "open"
Index("tasks_open", tasks.c.owner, tasks.c.due_at, postgresql_where=_open)
Index("tasks_of_run", tasks.c.run, tasks.c.action)
Index(
    "tasks_one_open",
    tasks.c.scope_key,
    tasks.c.reason,
    unique=True,
    postgresql_where=and_(_open, tasks.c.scope_key.is_not(None)),
)
Index("tasks_to_remind", tasks.c.remind_at, postgresql_where=and_(_open, tasks.c.remind_at.is_not(None)))
Index("tasks_on_clock", tasks.c.clock, postgresql_where=and_(_open, tasks.c.clock.is_not(None)))
Index("tasks_of_account", tasks.c.account_key, tasks.c.id, postgresql_where=tasks.c.account_key.is_not(None))

Index("tasks_of_subject", tasks.c.subject_key)
Index("tasks_of_scope", tasks.c.scope_key, postgresql_where=tasks.c.scope_key.is_not(None))
Index("tasks_load", tasks.c.owner, postgresql_where=and_(_open, tasks.c.clock.is_(None)))

task_asks = Table(
    "task_asks",
    metadata,
    Column("key", Text, primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id"), nullable=False),
    Column("run", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("status", Text, CheckConstraint(_STATUS, name="status"), nullable=False, server_default="open"),
    Column("asked_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    comment="A run's request for a task; the task stays open while one of them is.",
)
Index("task_asks_of_task", task_asks.c.task_id)
Index("task_asks_of_run", task_asks.c.run, task_asks.c.action)

task_log = Table(
    "task_log",
    metadata,
    number(primary_key=True),
    Column("task_id", BigInteger, ForeignKey("tasks.id"), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("kind", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("recorded_at", Timestamp, nullable=False, server_default=func.now()),
    comment="What happened to a task, by whom and why; only inserted.",
)
Index("task_log_of_task", task_log.c.task_id, task_log.c.id)

task_mirrors = Table(
    "task_mirrors",
    metadata,
    Column("task_id", BigInteger, ForeignKey("tasks.id"), primary_key=True),
    Column("mirror", Text, primary_key=True, comment="Which CRM."),
    Column("reference", Text, comment="The CRM's id of it."),
    Column(
        "version", BigInteger, nullable=False, server_default=text("1"), comment="Grows with every line of the log."
    ),
    Column("pushed", BigInteger, nullable=False, server_default=text("0"), comment="The version that the CRM has."),
    Column("reopens", Boolean, nullable=False, server_default=false(), comment="The CRM closed it and we have not."),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_at", Timestamp, nullable=False, server_default="-infinity"),
    Column("last_error", Text),
    comment="A task's copy in a CRM.",
)
Index(
    "task_mirrors_stale",
    task_mirrors.c.mirror,
    task_mirrors.c.next_at,
    postgresql_where=task_mirrors.c.version > task_mirrors.c.pushed,
)

turns = Table(
    "turns",
    metadata,
    Column("team", Text, primary_key=True),
    Column(
        "scope",
        Text,
        primary_key=True,
        server_default="",
        comment="Empty for all; on a test clock the account, or the person who has none.",
    ),
    Column("person", Text, nullable=False),
    comment="Who got the last task of a team: round robin goes on from there.",
)

conversations = Table(
    "conversations",
    metadata,
    number(primary_key=True),
    Column("run", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("message_id", BigInteger, nullable=False, comment="The message that was answered."),
    Column("journey", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("task_id", BigInteger, ForeignKey("tasks.id")),
    Column("replies", Integer, nullable=False, server_default=text("1")),
    Column("opened_at", Timestamp, nullable=False),
    Column("last_at", Timestamp, nullable=False, comment="When they wrote last."),
    Column("until", Timestamp, nullable=False, comment="It is over by itself then."),
    Column("closed_at", Timestamp),
    Column("closed_by", Text),
    comment="A person has answered a run's message: that run says nothing by itself meanwhile.",
)
Index(
    "conversations_open",
    conversations.c.recipient,
    conversations.c.run,
    unique=True,
    postgresql_where=conversations.c.closed_at.is_(None),
)
Index("conversations_of_task", conversations.c.task_id, postgresql_where=conversations.c.task_id.is_not(None))
