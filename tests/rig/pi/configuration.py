"""What the configurations of all emulated posts begin with; to be formatted with `name`, `mqtt`, `bootstrap` and `http`."""

HEAD = """\
[gateway]
id = "{name}"
state_dir = "/var/lib/lamppost"

[journal]
quota = "256MiB"
segment = "4MiB"

[mqtt]
listen = "0.0.0.0:{mqtt}"
anonymous = true

[kafka]
bootstrap = [{bootstrap}]
replication = 3
create_topics = true

[http]
listen = "0.0.0.0:{http}"
"""
