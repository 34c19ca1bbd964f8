package auth

import "github.com/keystile/keystile/keystore"

// Reach is how far a call reaches, and so who with a limit may make it at all.
type Reach uint8

// The reaches. The zero value is the narrowest: fail closed.
const (
	Everything   Reach = iota // only callers without a limit
	Organization              // also callers that are limited to an organization
	Account                   // also callers that are limited to an account
)

// Object is what the parameters of a path name. The API checks that the caller's limit covers it before the call begins.
type Object uint8

// The objects.
const (
	NoObject           Object = iota // the call looks for itself: lists, bodies, request records
	OrganizationObject               // {id} is an organization
	AccountObject                    // {id} is an account, and {connected_id} too unless the connection is being ended
	KeyObject                        // {id} is a key
	AdminTokenObject                 // {id} is an admin token
	MemberObject                     // {id} is a member, of whom at least one grant is covered
)

// Rule is one line of the table: the weakest role that may make the call, how far the call reaches, and what its path
// names.
type Rule struct {
	Role   keystore.Role
	Reach  Reach
	Object Object
	Public bool // needs no caller at all
	Self   bool // is about the signed-in member who makes it, whatever their roles; nobody else may make it
}

const (
	viewer        = keystore.RoleViewer
	developer     = keystore.RoleDeveloper
	administrator = keystore.RoleAdministrator
)

// table says who may make which call, by the operation's id in the OpenAPI document. A call that is not here is refused.
// A new call gets the reach Everything until its handler leaves out what a limited caller must not see.
var table = map[string]Rule{
	"get_openapi": {Public: true, Role: viewer, Reach: Account}, // the same for everybody, and no secret
	"get_docs":    {Public: true, Role: viewer, Reach: Account},
	"get_key_set": {Public: true, Role: viewer, Reach: Account}, // public keys

	"list_organizations":  {Role: viewer, Reach: Account},
	"create_organization": {Role: administrator, Reach: Everything},
	"get_organization":    {Role: viewer, Reach: Account, Object: OrganizationObject},
	"update_organization": {Role: administrator, Reach: Organization, Object: OrganizationObject},

	"list_accounts":      {Role: viewer, Reach: Account},
	"create_account":     {Role: administrator, Reach: Organization},
	"get_account":        {Role: viewer, Reach: Account, Object: AccountObject},
	"update_account":     {Role: administrator, Reach: Account, Object: AccountObject},
	"connect_account":    {Role: administrator, Reach: Account, Object: AccountObject},
	"disconnect_account": {Role: administrator, Reach: Account, Object: AccountObject},

	"list_sandboxes": {Role: viewer, Reach: Account, Object: AccountObject},
	"create_sandbox": {Role: administrator, Reach: Account, Object: AccountObject},
	"delete_sandbox": {Role: administrator, Reach: Account, Object: AccountObject},

	"list_keys":     {Role: viewer, Reach: Account},
	"create_key":    {Role: developer, Reach: Account},
	"import_keys":   {Role: developer, Reach: Account},
	"export_keys":   {Role: viewer, Reach: Account},
	"get_key":       {Role: viewer, Reach: Account, Object: KeyObject},
	"update_key":    {Role: developer, Reach: Account, Object: KeyObject},
	"delete_key":    {Role: developer, Reach: Account, Object: KeyObject},
	"reveal_key":    {Role: developer, Reach: Account, Object: KeyObject},
	"rotate_key":    {Role: developer, Reach: Account, Object: KeyObject},
	"duplicate_key": {Role: developer, Reach: Account, Object: KeyObject},
	"get_key_usage": {Role: viewer, Reach: Account, Object: KeyObject},

	"schedule_key_rotation":   {Role: developer, Reach: Account, Object: KeyObject},
	"unschedule_key_rotation": {Role: developer, Reach: Account, Object: KeyObject},
	"end_key_rotation":        {Role: developer, Reach: Account, Object: KeyObject},

	"list_resources": {Role: viewer, Reach: Account},
	"explain":        {Role: viewer, Reach: Account},

	"list_request_logs":     {Role: viewer, Reach: Account},
	"get_request_log":       {Role: viewer, Reach: Account},
	"tail_request_logs":     {Role: viewer, Reach: Account},
	"count_request_logs":    {Role: viewer, Reach: Account},
	"export_request_logs":   {Role: viewer, Reach: Account},
	"get_request_log_stats": {Role: viewer, Reach: Everything}, // its counts are everybody's

	"list_webhook_endpoints":  {Role: administrator, Reach: Account},
	"create_webhook_endpoint": {Role: administrator, Reach: Account},
	"get_webhook_endpoint":    {Role: administrator, Reach: Account}, // the handlers look whether {id} is covered
	"update_webhook_endpoint": {Role: administrator, Reach: Account},
	"delete_webhook_endpoint": {Role: administrator, Reach: Account},
	"rotate_webhook_secret":   {Role: administrator, Reach: Account},
	"resend_webhook_event":    {Role: administrator, Reach: Account},
	"list_webhook_deliveries": {Role: administrator, Reach: Account},

	"import_key_file": {Role: developer, Reach: Account},

	"list_events":   {Role: viewer, Reach: Account},
	"get_event":     {Role: viewer, Reach: Account},
	"export_events": {Role: viewer, Reach: Account},
	"verify_events": {Role: viewer, Reach: Everything},

	"list_members":           {Role: administrator, Reach: Account},
	"invite_member":          {Role: administrator, Reach: Account},
	"get_member":             {Role: administrator, Reach: Account, Object: MemberObject},
	"update_member":          {Role: administrator, Reach: Account, Object: MemberObject},
	"delete_member":          {Role: administrator, Reach: Account, Object: MemberObject},
	"renew_invitation":       {Role: administrator, Reach: Account, Object: MemberObject},
	"list_member_sessions":   {Role: administrator, Reach: Account, Object: MemberObject},
	"delete_member_sessions": {Role: administrator, Reach: Account, Object: MemberObject},

	"accept_invitation": {Public: true, Role: viewer, Reach: Account}, // by who has its token
	"sign_in":           {Public: true, Role: viewer, Reach: Account},
	"begin_oidc":        {Public: true, Role: viewer, Reach: Account},
	"finish_oidc":       {Public: true, Role: viewer, Reach: Account},
	"sign_out":          {Self: true},
	"get_session":       {Self: true},
	"list_sessions":     {Self: true},
	"delete_session":    {Self: true}, // the handler looks whether it is theirs
	"delete_sessions":   {Self: true},

	"create_verification":   {Self: true},
	"change_password":       {Self: true},
	"enroll_totp":           {Self: true},
	"confirm_totp":          {Self: true},
	"remove_totp":           {Self: true},
	"create_recovery_codes": {Self: true},
	"list_nodes":            {Role: viewer, Reach: Everything}, // names of machines are nothing for a customer

	"list_admin_tokens":  {Role: administrator, Reach: Account},
	"create_admin_token": {Role: administrator, Reach: Account},
	"get_admin_token":    {Role: administrator, Reach: Account, Object: AdminTokenObject},
	"delete_admin_token": {Role: administrator, Reach: Account, Object: AdminTokenObject},
}

// RuleOf is the line of an operation, false if it has none.
func RuleOf(operation string) (Rule, bool) {
	r, ok := table[operation]
	return r, ok
}
