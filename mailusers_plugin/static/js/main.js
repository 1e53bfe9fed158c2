// The page's scripts. Each module improves what works without it; a line here is all that a new one needs.
import "./htmx.js";
import "./session.js";
import "./press.js";
import "./bulk.js";
import "./changes.js";
import "./dialogs.js";
import "./forms.js";
import "./password.js";
import "./errors.js";
import "./notices.js";
import "./list.js";
import "./live.js";
import "./copy.js";
import "./times.js";
